"""Anchors, and boxes relative to them, as in torchvision's detectors.

Formulas and orders: `torchvision/models/detection/anchor_utils.py` (AnchorGenerator) and `_utils.py`
(BoxCoder, BoxLinearCoder), 0.29.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from resnet_pipe.head.detectors.boxes import Floats, Indices

LARGEST = np.float32(math.log(1000 / 16))
"""Of the logarithm of how much wider or higher than its anchor a box may be."""


def base_anchors(sizes: Sequence[int], ratios: Sequence[float]) -> Floats:
    """Return anchors around the origin, in whole pixels: float32 (len(ratios) * len(sizes), 4).

    Sizes are roots of areas in pixels, ratios height by width; all sizes of the first ratio come first.
    """
    heights = np.sqrt(np.asarray(ratios, np.float32))
    widths = np.float32(1) / heights
    scales = np.asarray(sizes, np.float32)
    w = (widths[:, None] * scales).reshape(-1)
    h = (heights[:, None] * scales).reshape(-1)
    return np.round(np.stack([-w, -h, w, h], axis=1) / np.float32(2))


def anchors_at(
    base: Floats, which: Indices, y: Indices, x: Indices, grid: tuple[int, int], size: tuple[int, int]
) -> Floats:
    """Return some anchors of a level in pixels of the input, float32 (n, 4).

    Args:
        base: of the level.
        which: of the base anchors, (n,).
        y: row of each in the level's map.
        x: column of each.
        grid: height and width of the level's map.
        size: height and width of the input; their whole quotients are the distances between anchors.
    """
    shifts = np.stack([x * (size[1] // grid[1]), y * (size[0] // grid[0])], axis=1).astype(np.float32)
    return np.tile(shifts, 2) + base[which]


def decoded(deltas: Floats, anchors: Floats, weights: tuple[float, float, float, float]) -> Floats:
    """Return boxes (n, 4) from dx, dy, dw, dh (n, 4), which were multiplied by the weights in training."""
    sides = anchors[:, 2:] - anchors[:, :2]
    centres = anchors[:, :2] + np.float32(0.5) * sides
    scaled = deltas / np.asarray(weights, np.float32)
    centres = scaled[:, :2] * sides + centres
    half = np.float32(0.5) * (np.exp(np.minimum(scaled[:, 2:], LARGEST)) * sides)
    return np.concatenate([centres - half, centres + half], axis=1)


def around(distances: Floats, anchors: Floats) -> Floats:
    """Return boxes (n, 4) whose sides have these distances from anchors' centres: left, top, right, bottom.

    The unit of the distances (n, 4) is the side of the anchor.
    """
    centres = np.float32(0.5) * (anchors[:, :2] + anchors[:, 2:])
    pixels = distances * np.tile(anchors[:, 2:] - anchors[:, :2], 2)
    return np.concatenate([centres - pixels[:, :2], centres + pixels[:, 2:]], axis=1)
