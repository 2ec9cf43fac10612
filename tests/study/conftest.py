"""Fixtures for the tests of verification and of the choice of an engine."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from resnet_pipe.infer.engine import ENGINES
from resnet_pipe.study import verifier
from tests.networks import write_tiny
from tests.run.jobs import SIDECAR, JobFolder, numbered

Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Make engines of `tests.study.engines` the only ones, under names of the registry."""
    root = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])))
    monkeypatch.setattr(verifier, "SECONDS", 0.1)

    before = dict(ENGINES)

    def install_them(**engines: str) -> None:
        ENGINES.clear()
        ENGINES.update({name: f"tests.study.engines.{engines[name]}" for name in before if name in engines})

    yield install_them
    ENGINES.clear()
    ENGINES.update(before)


@pytest.fixture
def job(tmp_path: Path) -> JobFolder:
    """A job of five images, whose model has a sidecar."""
    network = write_tiny(tmp_path / "tiny.onnx")
    digest = hashlib.sha256(network.read_bytes()).hexdigest()
    (tmp_path / "tiny.json").write_text(json.dumps({**SIDECAR, "onnx_sha256": digest}))
    job = JobFolder(tmp_path, network)
    job.add(*numbered(5))
    return job
