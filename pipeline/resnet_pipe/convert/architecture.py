"""The ResNets of He et al. 2015 by arithmetic: parameters and multiply-accumulates, without torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Residual blocks in each of the four stages: table 1 of https://arxiv.org/abs/1512.03385."""


@dataclass(frozen=True)
class Size:
    """What a network costs.

    Attributes:
        params: trainable numbers, with the batch norms' scale and shift.
        macs: multiply-accumulates of the convolutions and the classifier for one image.
    """

    params: int
    macs: int


@dataclass(frozen=True)
class _Convolution:
    inputs: int
    outputs: int
    kernel: int
    pixels: int
    """of the output"""


def size(depth: int, classes: int = 1000, image: tuple[int, int] = (224, 224)) -> Size:
    """Return the cost of a ResNet.

    Args:
        depth: a key of `BLOCKS`.
        classes: width of the classifier.
        image: height and width of the input, pixels.
    """
    convolutions = list(_convolutions(depth, image))
    weights = [conv.inputs * conv.outputs * conv.kernel**2 for conv in convolutions]
    norms = sum(2 * conv.outputs for conv in convolutions)
    width = feature_width(depth)
    macs = sum(weight * conv.pixels for weight, conv in zip(weights, convolutions, strict=True))
    return Size(params=sum(weights) + norms + (width + 1) * classes, macs=macs + width * classes)


def feature_width(depth: int) -> int:
    """Return the width of the pooled features: 512 for basic blocks, 2048 for bottlenecks."""
    return 512 * _expansion(depth)


def _expansion(depth: int) -> int:
    return 1 if depth < 50 else 4


def _convolutions(depth: int, image: tuple[int, int]) -> Iterator[_Convolution]:
    halved = _halved(image)
    yield _Convolution(3, 64, 7, math.prod(halved))
    size = _halved(halved)  # the max pooling
    inputs = 64
    for stage, blocks in enumerate(BLOCKS[depth]):
        planes = 64 << stage
        outputs = planes * _expansion(depth)
        for block in range(blocks):
            stride = 2 if block == 0 and stage > 0 else 1
            before, size = math.prod(size), _halved(size) if stride == 2 else size
            pixels = math.prod(size)
            if _expansion(depth) == 1:
                yield _Convolution(inputs, planes, 3, pixels)
                yield _Convolution(planes, planes, 3, pixels)
            else:
                # torchvision's ResNet v1.5: the stride is in the 3x3 convolution, so the first one sees
                # the larger side.
                yield _Convolution(inputs, planes, 1, before)
                yield _Convolution(planes, planes, 3, pixels)
                yield _Convolution(planes, outputs, 1, pixels)
            if block == 0 and (stride == 2 or inputs != outputs):
                yield _Convolution(inputs, outputs, 1, pixels)
            inputs = outputs


def _halved(size: tuple[int, int]) -> tuple[int, int]:
    return (size[0] + 1) // 2, (size[1] + 1) // 2
