"""The catalogue knows the cost of every depth without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from resnet_pipe.convert import architecture, catalogue


@pytest.mark.parametrize(
    ("depth", "params", "gmacs"),
    [(18, 11.7, 1.81), (34, 21.8, 3.66), (50, 25.6, 4.09), (101, 44.5, 7.80), (152, 60.2, 11.51)],
)
def test_costs_are_those_of_the_literature(depth: int, params: float, gmacs: float) -> None:
    size = architecture.size(depth)
    assert round(size.params / 1e6, 1) == params
    assert round(size.macs / 1e9, 2) == gmacs


def test_parameters_agree_with_torchvision_for_another_head() -> None:
    models = pytest.importorskip("torchvision.models")
    for depth in architecture.BLOCKS:
        network = getattr(models, f"resnet{depth}")(num_classes=7)
        assert architecture.size(depth, classes=7).params == sum(p.numel() for p in network.parameters())


def test_the_catalogue_lists_the_five_depths() -> None:
    entries = catalogue.entries()
    assert [entry.name for entry in entries] == ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
    assert all(entry.weight_bytes == 4 * entry.params for entry in entries)


def test_the_catalogue_does_not_import_torch() -> None:
    code = (
        "import sys; from resnet_pipe.convert import catalogue; catalogue.entries();"
        " sys.exit(bool({'torch', 'cv2', 'onnx'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
