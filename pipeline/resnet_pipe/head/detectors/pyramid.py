"""The levels of a feature pyramid: their outputs' names, and which places of a level score best."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from resnet_pipe.head.detectors.boxes import Floats, Indices

FEATURES, LOGITS, DELTAS, DISTANCES, CENTERNESS = "features", "logits", "deltas", "distances", "centerness"
"""What a level's output holds, for `named`."""
ONE_STAGE_LEVELS = range(3, 8)
"""Of RetinaNet and FCOS: level k has 1/2**k of the input's resolution, rounded up."""
CANDIDATES = 1000
"""So many of a level are decoded, the best ones (torchvision's `topk_candidates`, `rpn_pre_nms_top_n`)."""


class Places(NamedTuple):
    """Where in a level's maps something may be: each (n,)."""

    anchor: Indices
    label: Indices
    y: Indices
    x: Indices

    def at(self, which: Indices) -> Places:
        """Return some of them."""
        return Places(*(field[which] for field in self))


def named(what: str, level: int) -> str:
    """Return the name of an output: what it holds, and of which level."""
    return f"{what}_p{level}"


def all_named(*maps: tuple[str, Iterable[int]]) -> tuple[str, ...]:
    """Return the names of outputs: what they hold, and of which levels."""
    return tuple(named(what, level) for what, levels in maps for level in levels)


def split(values: Floats, anchors: int) -> Floats:
    """Return a level's map (anchors * k, height, width) as (anchors, k, height, width)."""
    return values.reshape(anchors, -1, *values.shape[1:])


def above(logits: Floats, least: float, only: tuple[int, ...]) -> Places:
    """Return the places of logits (anchors, classes, height, width) whose sigmoid may be more than `least`.

    They come in torchvision's order, by row, column, anchor and class; few of them have a sigmoid that is
    not larger than `least`, but close. Classes that are not asked for are left out.
    """
    bound = math.log(least / (1 - least)) - 1e-3 if 0 < least < 1 else math.copysign(math.inf, least - 0.5)
    anchors, classes, _, width = logits.shape
    anchor, label, y, x = np.unravel_index(np.flatnonzero(logits > bound), logits.shape)
    places = Places(anchor, label, y, x)
    if only:
        places = places.at(np.flatnonzero(np.isin(label, only)))
    order = ((places.y * width + places.x) * anchors + places.anchor) * classes + places.label
    return places.at(np.argsort(order))
