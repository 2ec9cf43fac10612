"""The torchvision detector that a state dict is of: which one, how deep, and with how many classes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from resnet_pipe.errors import ModelError
from resnet_pipe.head.detectors.pyramid import ONE_STAGE_LEVELS
from resnet_pipe.head.detectors.retinanet import RATIOS, SIZES
from resnet_pipe.model import depths

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torchvision.models.detection.backbone_utils import BackboneWithFPN

State = Mapping[str, "Tensor"]

_BOX_CLASSES = "roi_heads.box_predictor.cls_score.weight"
_PLACE_CLASSES = "head.classification_head.cls_logits.weight"
_CENTERNESS = "head.regression_head.bbox_ctrness.weight"
_DEPTHS: dict[tuple[tuple[int, ...], bool], int] = {
    ((2, 2, 2, 2), False): 18,
    ((3, 4, 6, 3), False): 34,
    ((3, 4, 6, 3), True): 50,
    ((3, 4, 23, 3), True): 101,
    ((3, 8, 36, 3), True): 152,
}
"""Blocks of each layer, and whether they are bottlenecks -> depth of the ResNet."""
_ANCHORS = len(RATIOS) * len(SIZES[ONE_STAGE_LEVELS[0]])
"""Of RetinaNet, at each place."""
_FROZEN_EPS = 0.0
"""torchvision's own files of Faster R-CNN and RetinaNet, version 1, are read with this."""


def is_detector(state: State) -> bool:
    """Tell whether a state dict looks like one of a detector of torchvision."""
    return is_two_stage(state) or _PLACE_CLASSES in state


def is_two_stage(state: State) -> bool:
    """Tell whether a state dict looks like one of a Faster R-CNN of torchvision."""
    return _BOX_CLASSES in state


def kind_of(state: State) -> str:
    """Return which detector a state dict is of, as torchvision's names of these begin."""
    if is_two_stage(state):
        return "fasterrcnn"
    return "fcos" if _CENTERNESS in state else "retinanet"


def depth_of(state: State) -> int:
    """Return the depth of a detector's ResNet; a `ModelError` if it has none of the five."""
    blocks = tuple(_count(state, f"backbone.body.layer{layer}.{{}}.conv1.weight") for layer in range(1, 5))
    depth = _DEPTHS.get((blocks, "backbone.body.layer1.0.conv3.weight" in state))
    if depth is None:
        raise ModelError(
            f"a backbone with layers of {blocks} blocks is no ResNet-18, 34, 50, 101 or 152",
            "export the network to ONNX",
        )
    return depth


def model_of(state: State) -> nn.Module:
    """Return the detector of a state dict, in eval mode; it shares its weights.

    Batch norms are frozen if they do not count batches, with the epsilon that torchvision has for its own
    file of this kind. A Faster R-CNN or RetinaNet that was trained from a pretrained backbone alone has 1e-5
    instead of 0, which a state dict does not say.

    Args:
        state: as `state_dict` gives it, of any version of torchvision.

    Raises:
        ModelError: it is no detector of torchvision, or one that is built in another way.
    """
    import torch

    if not is_detector(state):
        raise ModelError(
            "these weights are of none of torchvision's Faster R-CNN, RetinaNet and FCOS",
            "export the network to ONNX",
        )
    eps = 1e-5 if _CENTERNESS in state else _FROZEN_EPS
    with torch.device("meta"):  # nothing is filled with random numbers that are replaced at once
        model = _two_stage(state, eps) if is_two_stage(state) else _one_stage(state, eps)
    try:
        model.load_state_dict({name: value.float() for name, value in state.items()}, assign=True)
    except RuntimeError as error:
        raise ModelError(
            f"these weights do not fit torchvision's {type(model).__name__}: {error}",
            "only weights, depth and the number of classes may differ from torchvision's own",
        ) from None
    return model.requires_grad_(False).eval()


def _two_stage(state: State, eps: float) -> nn.Module:
    from torch.nn import BatchNorm2d
    from torchvision.models.detection.faster_rcnn import FasterRCNN, FastRCNNConvFCHead
    from torchvision.models.detection.rpn import RPNHead
    from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

    backbone = _backbone(state, eps, (1, 2, 3, 4), LastLevelMaxPool())
    convolutions = _count(state, "rpn.head.conv.{}.0.weight") or 1  # without a number in old files
    head = RPNHead(backbone.out_channels, 3, conv_depth=convolutions)
    box_head = None
    if "roi_heads.box_head.0.0.weight" in state:  # version 2
        widths = [256] * _count(state, "roi_heads.box_head.{}.0.weight")
        box_head = FastRCNNConvFCHead((backbone.out_channels, 7, 7), widths, [1024], norm_layer=BatchNorm2d)
    model: nn.Module = FasterRCNN(backbone, len(state[_BOX_CLASSES]), rpn_head=head, box_head=box_head)
    return model


def _one_stage(state: State, eps: float) -> nn.Module:
    from torch.nn import GroupNorm
    from torchvision.models.detection import FCOS, RetinaNet
    from torchvision.models.detection.retinanet import RetinaNetHead
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7

    sixth = state.get("backbone.fpn.extra_blocks.p6.weight")
    extra = LastLevelP6P7(256 if sixth is None else sixth.shape[1], 256)
    backbone = _backbone(state, eps, (2, 3, 4), extra)
    rows = len(state[_PLACE_CLASSES])
    if _CENTERNESS in state:
        fcos: nn.Module = FCOS(backbone, rows)
        return fcos
    normed = "head.classification_head.conv.0.1.weight" in state  # version 2
    norm = partial(GroupNorm, 32) if normed else None
    head = RetinaNetHead(backbone.out_channels, _ANCHORS, rows // _ANCHORS, norm_layer=norm)
    retinanet: nn.Module = RetinaNet(backbone, rows // _ANCHORS, head=head)
    return retinanet


def _backbone(state: State, eps: float, layers: tuple[int, ...], extra: nn.Module) -> BackboneWithFPN:
    """Return a ResNet with a feature pyramid on the maps of these of its layers, counted from 1."""
    from torch.nn import BatchNorm2d
    from torchvision.models import resnet
    from torchvision.models.detection.backbone_utils import BackboneWithFPN
    from torchvision.ops import FrozenBatchNorm2d

    counted = "backbone.body.bn1.num_batches_tracked" in state
    norm = BatchNorm2d if counted else partial(FrozenBatchNorm2d, eps=eps)
    body = getattr(resnet, depths.resnet(depth_of(state)))(norm_layer=norm)
    pyramid_norm = BatchNorm2d if "backbone.fpn.inner_blocks.0.1.weight" in state else None
    return BackboneWithFPN(
        body,
        {f"layer{layer}": str(number) for number, layer in enumerate(layers)},
        [body.inplanes // 8 * 2 ** (layer - 1) for layer in layers],
        256,
        extra_blocks=extra,
        norm_layer=pyramid_norm,
    )


def _count(state: State, pattern: str) -> int:
    """Return how many weights there are of a numbered name, from 0 on."""
    return next(number for number in range(len(state) + 1) if pattern.format(number) not in state)
