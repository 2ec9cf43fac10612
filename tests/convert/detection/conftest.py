"""Detectors that are made and cut once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
from torch import nn

from resnet_pipe.convert.detection.cut import Cut, cut
from tests.convert.detection.agreement import Prepared, of_torchvision, prepared
from tests.convert.detection.calibrated import SMALL, detector, images
from tests.convert.detection.executed import Floats
from tests.made_once import made_once


class Case(NamedTuple):
    """A detector, its pieces, and images with what torchvision finds in them. Do not change it."""

    model: nn.Module
    pieces: Cut
    prepared: list[Prepared]
    expected: list[Floats]


@pytest.fixture(scope="session")
def case(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    """Return a detector with ResNet-18 by name: `faster_rcnn`, `retinanet` or `fcos`."""
    made: dict[str, Case] = {}

    def make(name: str) -> Case:
        model = detector(name, **SMALL)
        some = images()[:2]
        inputs = [prepared(image, **SMALL) for image in some]
        expected = [
            of_torchvision(model, image, given.placement) for image, given in zip(some, inputs, strict=True)
        ]
        return Case(model, cut(model), inputs, expected)

    def get(name: str) -> Case:
        if name not in made:
            made[name] = made_once(tmp_path_factory, f"detector-{name}", lambda _: make(name))
        return made[name]

    return get
