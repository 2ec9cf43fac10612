"""The tests of conversion are for environments that have the extra `convert`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from resnet_pipe.infer.engine import DEFAULT, ENGINES
from tests.made_once import made_once

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import nn

pytest.importorskip("torchvision", reason="needs the extra `convert`")


@pytest.fixture(autouse=True)
def _one_engine(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Compare what is converted in the default engine alone: all of them take ten seconds."""
    from resnet_pipe.convert import check

    if "every_engine" not in request.fixturenames:
        monkeypatch.setattr(check, "ENGINES", {DEFAULT: ENGINES[DEFAULT]})


@pytest.fixture
def every_engine() -> None:
    """Compare what is converted in every installed engine, as users do."""


@pytest.fixture
def own_export() -> None:
    """Ask torch's exporter in this very test."""


@pytest.fixture(autouse=True)
def _one_export(
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Ask torch's exporter once about the same network, in one of the processes that run tests.

    It takes three quarters of a conversion. Each conversion still compares its file with its network.
    """
    from onnx import ModelProto

    from resnet_pipe.convert import export as exporting  # it needs torch, which is looked for above
    from resnet_pipe.convert.detection import cut

    export: Callable[..., ModelProto] = exporting.export

    def remembered(network: nn.Module, size: tuple[int, int], *given: object, **named: object) -> ModelProto:
        digest = hashlib.sha256(f"{size} {given} {named} {network}".encode())
        for name, values in network.state_dict().items():
            digest.update(name.encode() + values.numpy().tobytes())
        name = f"export-{digest.hexdigest()}"

        def export_it(_folder: Path) -> bytes:
            return bytes(export(network, size, *given, **named).SerializeToString())

        kept: ModelProto = ModelProto.FromString(made_once(tmp_path_factory, name, export_it))
        return kept

    if "own_export" not in request.fixturenames:
        monkeypatch.setattr(exporting, "export", remembered)
        monkeypatch.setattr(cut, "export", remembered)
