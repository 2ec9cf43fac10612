"""Which detector a state dict is of is read from its keys, old names and missing counts included."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

from resnet_pipe.convert.detection.expected import kind_of
from resnet_pipe.convert.detection.state import is_detector, model_of
from resnet_pipe.errors import ModelError
from tests.convert.detection.calibrated import untouched

State = dict[str, Tensor]
FULL: dict[str, Callable[..., nn.Module]] = {
    "fasterrcnn_resnet50_fpn": detection.fasterrcnn_resnet50_fpn,
    "fasterrcnn_resnet50_fpn_v2": detection.fasterrcnn_resnet50_fpn_v2,
    "retinanet_resnet50_fpn": detection.retinanet_resnet50_fpn,
    "retinanet_resnet50_fpn_v2": detection.retinanet_resnet50_fpn_v2,
    "fcos_resnet50_fpn": detection.fcos_resnet50_fpn,
}


def _empty(name: str) -> nn.Module:
    """Return a detector of torchvision without numbers."""
    with torch.device("meta"):
        return FULL[name](weights=None, weights_backbone=None, num_classes=7)


def _zeros(model: nn.Module) -> State:
    return {name: torch.zeros(value.shape) for name, value in model.state_dict().items()}


@pytest.mark.parametrize("name", FULL)
def test_the_network_is_the_one_that_torchvision_builds(name: str) -> None:
    model = _empty(name)
    assert repr(model_of(_zeros(model))) == repr(model)


@pytest.mark.parametrize("kind", ["faster_rcnn", "retinanet", "fcos"])
def test_it_gives_the_numbers_that_its_weights_gave(kind: str) -> None:
    model: Any = untouched(kind)
    state = model.state_dict()
    found: Any = model_of(state)
    assert kind_of(found) == kind
    assert not found.training
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for name, values in model.backbone(images).items():
            assert torch.equal(values, found.backbone(images)[name])
    assert all(torch.equal(value, state[name]) for name, value in found.state_dict().items())


@pytest.mark.parametrize("depth", [18, 34, 101, 152])
def test_the_depth_is_read_from_the_keys(depth: int) -> None:
    with torch.device("meta"):
        norm = partial(FrozenBatchNorm2d, eps=0.0)
        backbone = resnet_fpn_backbone(backbone_name=f"resnet{depth}", weights=None, norm_layer=norm)
        model = detection.FasterRCNN(backbone, 3)
    assert repr(model_of(_zeros(model))) == repr(model)


@pytest.mark.parametrize(
    ("name", "eps"),
    [("fasterrcnn_resnet50_fpn", 0.0), ("retinanet_resnet50_fpn", 0.0), ("fcos_resnet50_fpn", 1e-5)],
)
def test_norms_that_count_no_batches_are_frozen_as_in_torchvisions_own_files(name: str, eps: float) -> None:
    state = _zeros(_empty(name))
    frozen = {key: value for key, value in state.items() if "num_batches_tracked" not in key}
    assert f"FrozenBatchNorm2d(64, eps={eps})" in repr(model_of(frozen))
    assert "FrozenBatchNorm2d" not in repr(model_of(state))


def test_names_of_old_files_are_read() -> None:
    model = _empty("fasterrcnn_resnet50_fpn")
    new = _zeros(model)
    old = {
        name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        .replace("blocks.0.0.", "blocks.0.")
        .replace("blocks.1.0.", "blocks.1.")
        .replace("blocks.2.0.", "blocks.2.")
        .replace("blocks.3.0.", "blocks.3."): value
        for name, value in new.items()
    }
    assert len(old.keys() - new.keys()) == 18
    assert repr(model_of(old)) == repr(model)


def test_half_precision_becomes_float32() -> None:
    state = {name: value.half() for name, value in _zeros(_empty("fcos_resnet50_fpn")).items()}
    assert {value.dtype for value in model_of(state).parameters()} == {torch.float32}


def test_weights_of_something_else_are_refused() -> None:
    state = {"fc.weight": torch.zeros(3, 4)}
    assert not is_detector(state)
    with pytest.raises(ModelError, match="of none of torchvision's Faster R-CNN, RetinaNet and FCOS"):
        model_of(state)


def test_other_anchors_and_other_backbones_are_refused_by_name() -> None:
    state = _zeros(_empty("fasterrcnn_resnet50_fpn"))
    more = state | {"rpn.head.cls_logits.weight": torch.zeros(5, 256, 1, 1)}
    with pytest.raises(ModelError, match=r"torchvision's FasterRCNN: (?s:.*)rpn\.head\.cls_logits\.weight"):
        model_of(more)
    fewer = {name: value for name, value in state.items() if "layer3.5" not in name}
    with pytest.raises(ModelError, match=r"layers of \(3, 4, 5, 3\) blocks is no ResNet-18, 34"):
        model_of(fewer)
