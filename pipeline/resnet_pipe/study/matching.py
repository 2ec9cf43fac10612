"""How many of the boxes that two executions of a network find are the same, and how far apart these are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.head.detectors.boxes import COLUMNS, overlaps
from resnet_pipe.head.detectors.settings import DetectorSettings

IOU = 0.9
"""How much two boxes overlap at least to be the same, intersection over union."""
CORNER = 0.01
"""Boxes with all corners so close, in pixels, are the same, too: in thin images they have hardly an area."""
SCORE = 0.05
"""How far their scores may be apart; and how far above the least score a box must be to count."""
LEAST = {"fp32": 0.98, "fp16": 0.9, "bf16": 0.9, "int8": 0.8}
"""By precision: the share of the boxes that must be the same. Which of two near-equal boxes of one object
survives can depend on the last bit."""

Boxes = NDArray[np.float32]
"""Of an item: (n, 6), x1, y1, x2, y2 in pixels, score, label; the best first."""


class Apart(NamedTuple):
    """How far apart the boxes of an item are that both have: of each pair, float64.

    Attributes:
        corners: the largest difference of a coordinate, in pixels.
        scores: the difference of the scores.
    """

    corners: NDArray[np.float64]
    scores: NDArray[np.float64]


def matched(found: NDArray[np.float32], reference: NDArray[np.float32], settings: DetectorSettings) -> float:
    """Return the share of the boxes of each that the other has too; 1 if neither has any.

    Both are float32, shape (n, max_detections * 6), as a detector gives them. Two boxes are the same if they
    have one class and overlap by `IOU`, and their scores differ by `SCORE` at most. Boxes whose score is just
    enough to be kept count only as partners of others.
    """
    same = total = 0
    for ours, theirs in zip(items_of(found), items_of(reference), strict=True):
        for one, other in ((ours, theirs), (theirs, ours)):
            counted = one[one[:, 4] > settings.score + SCORE]
            close = np.abs(counted[:, 4][:, None] - other[:, 4]) <= SCORE
            total += len(counted)
            same += int((_alike(counted, other) & close).any(axis=1).sum())
    return same / total if total else 1.0


def items_of(detections: NDArray[np.float32]) -> list[Boxes]:
    """Return the boxes of each item, of what a detector gives: (n, max_detections * 6)."""
    return [boxes[boxes[:, 4] > 0] for boxes in detections.reshape(len(detections), -1, COLUMNS)]


def apart(ours: Boxes, theirs: Boxes) -> Apart:
    """Return how far apart those boxes of an item are that both have, whatever their scores.

    These have one class and overlap by `IOU`. Each box is in one pair at most: from the best one on, it is
    paired with the one that overlaps it most of those that are left.
    """
    alike = _alike(ours, theirs)
    shared = np.where(alike, np.nan_to_num(overlaps(ours[:, :4], theirs[:, :4]), nan=1.0), -1.0)
    pairs = []
    for row in np.flatnonzero(alike.any(axis=1)):
        best = int(shared[row].argmax())
        if shared[row, best] >= 0:
            pairs.append((row, best))
            shared[:, best] = -1.0
    one, other = np.array(pairs, np.intp).reshape(-1, 2).T
    difference = np.abs(ours[one, :5].astype(np.float64) - theirs[other, :5])
    return Apart(difference[:, :4].max(axis=1, initial=0.0), difference[:, 4])


def _alike(some: Boxes, others: Boxes) -> NDArray[np.bool_]:
    """Tell of each of some boxes (m, 6) and each of others (n, 6) whether they are the same: (m, n)."""
    over = overlaps(some[:, :4], others[:, :4]) >= IOU
    over |= (np.abs(some[:, None, :4] - others[None, :, :4]) <= CORNER).all(axis=2)
    found: NDArray[np.bool_] = over & (some[:, 5][:, None] == others[:, 5])
    return found
