"""The ResNets there are, by depth: their names, and those of the Faster R-CNNs that have one inside."""

from __future__ import annotations

DEPTHS = (18, 34, 50, 101, 152)
"""The ResNets of He et al. 2015, https://arxiv.org/abs/1512.03385, table 1."""


def resnet(depth: int) -> str:
    """Return the name of the ResNet of a depth."""
    return f"resnet{depth}"


def faster_rcnn(depth: int) -> str:
    """Return the name of the Faster R-CNN, version 1, with a ResNet of a depth and a feature pyramid.

    torchvision itself has a function of such a name for depth 50 alone, and builds the others just as well.
    """
    return f"fasterrcnn_resnet{depth}_fpn"
