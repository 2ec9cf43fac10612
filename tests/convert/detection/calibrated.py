"""Detectors of torchvision with random weights that detect something, for the tests.

Freshly made ones say the same of every place, and nothing with confidence. So the batch norms have seen
photographs, the residual branches are weak, as training makes them, and the last layers of the heads are
scaled until what they say of photographs is spread as wide as wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.detection import (
    FCOS,
    FasterRCNN,
    RetinaNet,
    fasterrcnn_resnet50_fpn,
    fasterrcnn_resnet50_fpn_v2,
    fcos_resnet50_fpn,
    retinanet_resnet50_fpn,
    retinanet_resnet50_fpn_v2,
)
from torchvision.models.detection.backbone_utils import BackboneWithFPN, resnet_fpn_backbone
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from tests.photographs import NAMES, photograph

CLASSES = 12
SMALL = {"min_size": 160, "max_size": 224}
"""Pixels of the sides that images are resized to."""
_BRANCH_WEIGHT = 0.25
_SPREAD = {
    "rpn.head.cls_logits": (0.5, 0.0),
    "rpn.head.bbox_pred": (0.3, 0.0),
    "roi_heads.box_predictor.cls_score": (2.0, 0.0),
    "roi_heads.box_predictor.bbox_pred": (1.0, 0.0),
    "head.classification_head.cls_logits": (0.3, -1.5),
    "head.regression_head.bbox_reg": (0.1, 0.0),
    "head.regression_head.bbox_ctrness": (1.0, 2.0),
}
"""Layer -> standard deviation and mean of what it says of photographs.

Wider ones give scores of exactly 1.0 by the thousand, and torchvision sorts equal scores in an order that
depends on the processor.
"""
_DISTANCES = (0.3, 1.0)
"""The same of the boxes of FCOS, which are no boxes where they are negative."""


def images() -> list[NDArray[np.uint8]]:
    """Return photographs, uint8 (height, width, 3), RGB."""
    return [np.asarray(photograph(name)) for name in NAMES[:5]]


def detector(name: str, **sizes: int) -> nn.Module:
    """Return a detector that has seen photographs, in eval mode."""
    model = untouched(name, **sizes)
    _see(model)
    return model.eval()


def untouched(name: str, **sizes: int) -> nn.Module:
    """Return a new detector by name: a function of torchvision, or one of three with ResNet-18."""
    makers: dict[str, Callable[[], nn.Module]] = {
        "faster_rcnn": lambda: FasterRCNN(_backbone(), CLASSES, **sizes),
        "retinanet": lambda: RetinaNet(_backbone(2, 3, 4), CLASSES, **sizes),
        "fcos": lambda: FCOS(_backbone(2, 3, 4), CLASSES, **sizes),
    }
    full = (
        fasterrcnn_resnet50_fpn,
        fasterrcnn_resnet50_fpn_v2,
        retinanet_resnet50_fpn,
        retinanet_resnet50_fpn_v2,
        fcos_resnet50_fpn,
    )
    options: dict[str, Any] = {"weights": None, "weights_backbone": None, "num_classes": CLASSES, **sizes}
    makers |= {one.__name__: lambda one=one: one(**options) for one in full}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return makers[name]().eval()


def tensor(image: NDArray[np.uint8]) -> Tensor:
    """Return an image as torchvision's detectors are given it."""
    return torch.from_numpy(image.astype(np.float32) / np.float32(255)).permute(2, 0, 1)


def _backbone(*returned: int) -> BackboneWithFPN:
    extra = {"extra_blocks": LastLevelP6P7(256, 256)} if returned else {}
    return resnet_fpn_backbone(
        backbone_name="resnet18",
        weights=None,
        norm_layer=nn.BatchNorm2d,
        trainable_layers=5,
        returned_layers=list(returned) or None,
        **extra,
    )


def _see(model: nn.Module) -> None:
    """Show photographs to a detector, and set its norms and last layers by what they see."""
    for module in model.modules():
        module.training = isinstance(module, nn.BatchNorm2d)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain average over all that is seen
            module.reset_running_stats()
        if isinstance(module, BasicBlock | Bottleneck):
            last = module.bn2 if isinstance(module, BasicBlock) else module.bn3
            nn.init.constant_(last.weight, _BRANCH_WEIGHT)
    spreads = _SPREAD | ({"head.regression_head.bbox_reg": _DISTANCES} if isinstance(model, FCOS) else {})
    layers = [(module, spreads[name]) for name, module in model.named_modules() if name in spreads]
    hooks = [layer.register_forward_hook(_spreading(*spread)) for layer, spread in layers]
    with torch.inference_mode():
        model([tensor(image) for image in images()[1:2]])
    for hook in hooks:
        hook.remove()


def _spreading(deviation: float, mean: float) -> Callable[..., Tensor | None]:
    """Return a hook that scales a layer by the first that it says, and says that again."""
    scaled = False

    def hook(layer: nn.Conv2d | nn.Linear, _given: object, said: Tensor) -> Tensor | None:
        nonlocal scaled
        if scaled:
            return None
        scaled = True
        assert layer.bias is not None
        scale = deviation / said.std()
        layer.weight.mul_(scale)
        layer.bias.copy_(layer.bias * scale + mean - said.mean() * scale)
        return (said - said.mean()) * scale + mean

    return hook
