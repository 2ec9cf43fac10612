"""The catalogue knows the cost of every depth without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from resnet_pipe.convert import catalogue


@pytest.fixture(autouse=True)
def _no_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is converted."""
    monkeypatch.setattr(catalogue, "models_dir", lambda: tmp_path)


FINDERS = [
    *(f"fasterrcnn_resnet{depth}_fpn" for depth in (18, 34, 50, 101, 152)),
    *("fasterrcnn_resnet50_fpn_v2", "retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2"),
    "fcos_resnet50_fpn",
]
COSTS = {
    "resnet18": (11.7, 1.81),
    "resnet34": (21.8, 3.66),
    "resnet50": (25.6, 4.09),
    "resnet101": (44.5, 7.80),
    "resnet152": (60.2, 11.51),
}


def test_costs_are_those_of_the_literature() -> None:
    found = {
        entry.name: (round((entry.params or 0) / 1e6, 1), round((entry.macs or 0) / 1e9, 2))
        for entry in catalogue.entries()
        if entry.params
    }
    assert found == COSTS


def test_parameters_are_those_of_torchvision() -> None:
    models = pytest.importorskip("torchvision.models")
    for entry in catalogue.entries()[:5]:
        network = getattr(models, entry.name)()
        assert entry.params == sum(p.numel() for p in network.parameters())


def test_the_catalogue_lists_the_five_depths_and_then_what_finds_objects() -> None:
    entries = catalogue.entries()
    assert [entry.name for entry in entries] == [*COSTS, *FINDERS]
    assert all(entry.file_bytes == 4 * (entry.params or 0) for entry in entries[:5])
    assert [entry.command for entry in entries[5:]] == [f"resnet-pipe convert {name}" for name in FINDERS]


def test_the_catalogue_does_not_import_torch() -> None:
    code = (
        "import sys; from resnet_pipe.convert import catalogue; catalogue.entries();"
        " sys.exit(bool({'torch', 'cv2', 'onnx'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
