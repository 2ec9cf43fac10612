"""The parts of torchvision's detectors as networks: maps in, maps out, nothing reshaped and nothing joined.

Networks that end in Reshape, Transpose and Concat give wrong numbers in cv2.dnn's classic engine for a batch
of two, without a word; so each level's maps are outputs of their own.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import FrozenBatchNorm2d

if TYPE_CHECKING:
    from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet


class Pyramid(nn.Module):
    """A ResNet and its feature pyramid: images (N, 3, H, W) to maps, the finest first, and features.

    Height and width must be multiples of 32: then each map is twice as large as the next one, and no size is
    part of the network.
    """

    def __init__(self, backbone: Any) -> None:  # noqa: ANN401 - a BackboneWithFPN
        super().__init__()
        self.body = _plain(backbone.body)
        self.pyramid = _plain(backbone.fpn)

    def forward(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return all levels' maps, each (N, 256, height, width), and features (N, channels).

        These are the means over height and width of the ResNet's last stage, as before its classifier.
        """
        seen = list(self.body(images).values())
        sums: list[Tensor] = []
        for block, values in zip(reversed(self.pyramid.inner_blocks), reversed(seen), strict=True):
            lateral = block(values)
            if sums:
                lateral = lateral + functional.interpolate(sums[-1], scale_factor=2.0, mode="nearest")
            sums.append(lateral)
        blocks = zip(self.pyramid.layer_blocks, reversed(sums), strict=True)
        maps = [block(values) for block, values in blocks]
        found: list[Tensor] = self.pyramid.extra_blocks(maps, seen, [])[0]
        return found, seen[-1].mean((2, 3))


class FirstStage(nn.Module):
    """Of Faster R-CNN: images to the maps that boxes are pooled from, and what is said of all anchors."""

    def __init__(self, model: FasterRCNN) -> None:
        super().__init__()
        self.pyramid = Pyramid(model.backbone)
        self.head = _plain(model.rpn.head)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return maps of levels 2 to 5, logits of levels 2 to 6, deltas of levels 2 to 6, and features."""
        maps, features = self.pyramid(images)
        logits, deltas = self.head(maps)
        return [*maps[:-1], *logits, *deltas, features]


class BoxHead(nn.Module):
    """Of Faster R-CNN: what each proposal sees of the maps, (R, 256, 7, 7), to logits and deltas."""

    def __init__(self, model: FasterRCNN) -> None:
        super().__init__()
        self.head = _plain(model.roi_heads.box_head)
        self.predictor = _plain(model.roi_heads.box_predictor)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (R, classes) and deltas (R, 4 * classes)."""
        seen = self.head(pooled)
        return self.predictor.cls_score(seen), self.predictor.bbox_pred(seen)


class OneStage(nn.Module):
    """RetinaNet or FCOS: images to maps of logits, boxes, and for FCOS centerness, and to features."""

    def __init__(self, model: RetinaNet | FCOS) -> None:
        super().__init__()
        self.pyramid = Pyramid(model.backbone)
        self.classes = _plain(model.head.classification_head)
        self.boxes = _plain(model.head.regression_head)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return what is said of the levels 3 to 7, one kind of map after the other, and features."""
        maps, features = self.pyramid(images)
        logits = [self.classes.cls_logits(self.classes.conv(values)) for values in maps]
        seen = [self.boxes.conv(values) for values in maps]
        boxes = [self.boxes.bbox_reg(values) for values in seen]
        if not hasattr(self.boxes, "bbox_ctrness"):
            return [*logits, *boxes, features]
        distances = [functional.relu(values) for values in boxes]
        return [*logits, *distances, *(self.boxes.bbox_ctrness(values) for values in seen), features]


class GroupNorm(nn.Module):
    """GroupNorm as convolutions and means over whole maps, which all engines execute.

    The exporter's form reshapes, and ends the process in cv2.dnn's classic engine.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        channels, each = norm.num_channels, norm.num_channels // norm.num_groups
        mean = torch.kron(torch.eye(norm.num_groups), torch.full((each, each), 1 / each))
        self.mean = nn.Parameter(mean.reshape(channels, channels, 1, 1))
        self.scale = nn.Parameter(norm.weight.detach().reshape(1, -1, 1, 1).clone())
        self.shift = nn.Parameter(norm.bias.detach().reshape(1, -1, 1, 1).clone())
        self.eps = norm.eps

    def forward(self, values: Tensor) -> Tensor:
        """Return (N, C, H, W) with mean 0 and variance 1 in each group, scaled and shifted by channel."""
        centred = values - self._mean(values)
        variance = self._mean(centred * centred)
        return centred * (self.scale / torch.sqrt(variance + self.eps)) + self.shift

    def _mean(self, values: Tensor) -> Tensor:
        """Return the mean over each channel's group, height and width: (N, C, 1, 1)."""
        return functional.conv2d(values.mean((2, 3), keepdim=True), self.mean)


def _plain(module: nn.Module) -> Any:  # noqa: ANN401 - of the class that it had
    """Return a copy in eval mode whose norms are of the kinds that can be folded, or that engines execute."""
    copy = deepcopy(module)
    for parent in list(copy.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, FrozenBatchNorm2d):
                setattr(parent, name, _batch_norm(child))
            elif isinstance(child, nn.GroupNorm):
                setattr(parent, name, GroupNorm(child))
    return copy.eval()


def _batch_norm(frozen: FrozenBatchNorm2d) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(len(frozen.weight), eps=frozen.eps)
    norm.load_state_dict(frozen.state_dict(), strict=False)  # it does not count batches
    return norm
