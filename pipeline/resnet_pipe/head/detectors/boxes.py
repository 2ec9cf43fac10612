"""Boxes in numpy: overlap, non-maximum suppression, and the best of many.

Boxes are float32 (n, 4): x1, y1, x2, y2 in pixels. Orders and arithmetic are those of torchvision 0.29
(`torchvision/ops/boxes.py`, `csrc/ops/cpu/nms_kernel.cpp`), to the last bit where numpy allows it: which of
two boxes survives can depend on one.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
Indices: TypeAlias = NDArray[np.intp]

COLUMNS = 6
"""Of a detection: x1, y1, x2, y2, score, label."""
_BLOCK = 256
"""So many boxes are compared with each other at once: 256 KiB of overlaps stay in the cache."""
_SHIFTED_UP_TO = 1000
"""torchvision shifts the boxes of so many candidates, or fewer, on a CPU (its 4,000 numbers)."""


class Candidates(NamedTuple):
    """Boxes that may become detections: float32 (n, 4), float32 scores (n,) and integer labels (n,)."""

    boxes: Floats
    scores: Floats
    labels: Indices

    def at(self, which: Indices | NDArray[np.bool_]) -> Candidates:
        """Return some of them, by index or mask."""
        return Candidates(self.boxes[which], self.scores[which], self.labels[which])

    def of(self, only: tuple[int, ...]) -> Candidates:
        """Return those with one of these labels; all if none is named."""
        return self.at(np.isin(self.labels, only)) if only else self

    def packed(self, max_detections: int) -> Floats:
        """Return the first of them as float32 (max_detections, 6), with zeros where there are fewer."""
        made = np.zeros((max_detections, COLUMNS), np.float32)
        count = min(len(self.scores), max_detections)
        made[:count, :4] = self.boxes[:count]
        made[:count, 4] = self.scores[:count]
        made[:count, 5] = self.labels[:count]
        return made


def joined(parts: list[Candidates]) -> Candidates:
    """Return the candidates of several levels, one level after the other."""
    return Candidates(*(np.concatenate(field) for field in zip(*parts, strict=True)))


def sigmoid(values: Floats) -> Floats:
    """Return 1 / (1 + exp(-x)), float32 of the same shape."""
    with np.errstate(over="ignore"):  # exp(89) is infinite, and 1 / infinity the 0 that is meant
        return np.float32(1) / (np.float32(1) + np.exp(-values))


def softmax(logits: Floats) -> Floats:
    """Return the softmax over the last axis, float32 of the same shape."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def corners(boxes: Floats) -> Floats:
    """Return boxes (n, 4) of centre x, centre y, width and height as x1, y1, x2, y2."""
    half = np.float32(0.5) * boxes[:, 2:]
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def clipped(boxes: Floats, bounds: Floats) -> Floats:
    """Return boxes with all corners moved into bounds: x1, y1, x2, y2 in pixels."""
    return np.clip(boxes, np.tile(bounds[:2], 2), np.tile(bounds[2:], 2))


def at_least(boxes: Floats, side: float) -> NDArray[np.bool_]:
    """Tell which boxes have no side that is shorter than this, in pixels."""
    return (boxes[:, 2] - boxes[:, 0] >= np.float32(side)) & (boxes[:, 3] - boxes[:, 1] >= np.float32(side))


def best(scores: Floats, k: int) -> Indices:
    """Return where the k largest of scores (n,) are, the largest first, equal ones by their index."""
    if len(scores) > k:
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        found = np.flatnonzero(scores >= least)
    else:
        found = np.arange(len(scores))
    return found[np.argsort(-scores[found], kind="stable")[:k]]


def overlaps(some: Floats, others: Floats) -> Floats:
    """Return the intersection over union of each of some boxes (m, 4) with each of others (n, 4): (m, n).

    It is NaN for two boxes without an area.
    """
    areas = (some[:, 2] - some[:, 0]) * (some[:, 3] - some[:, 1])
    other_areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    shared = np.minimum(some[:, None, 2], others[None, :, 2])
    shared -= np.maximum(some[:, None, 0], others[None, :, 0])
    heights = np.minimum(some[:, None, 3], others[None, :, 3])
    heights -= np.maximum(some[:, None, 1], others[None, :, 1])
    np.maximum(shared, 0, out=shared)
    shared *= np.maximum(heights, 0, out=heights)
    union = areas[:, None] + other_areas[None, :]
    union -= shared
    with np.errstate(divide="ignore", invalid="ignore"):
        shared /= union
    return shared


def nms(candidates: Candidates, threshold: float, limit: int) -> Indices:
    """Return which candidates survive greedy non-maximum suppression among those of their label.

    They come in falling order of score, equal ones by index, and no more than `limit`. A candidate is
    dropped if its IoU with a better one that is kept is larger than the threshold.
    """
    if not len(candidates.scores):
        return np.arange(0)
    order = np.argsort(-candidates.scores, kind="stable")
    labels = candidates.labels[order]
    grouped = np.argsort(labels, kind="stable")  # each label's, the best first
    ends = np.flatnonzero(np.diff(labels[grouped])) + 1
    ranks = [
        ranks[_greedy(candidates.boxes[order[ranks]], threshold, limit)] for ranks in np.split(grouped, ends)
    ]
    return order[np.sort(np.concatenate(ranks))[:limit]]


def shifted(candidates: Candidates) -> Candidates:
    """Return candidates whose boxes lie where torchvision compares them.

    Up to 1,000 of them, torchvision moves each label's boxes to a place of their own, which costs the
    overlaps a few bits; more than that, it compares label by label (`batched_nms`).
    """
    boxes = candidates.boxes
    if not 0 < len(boxes) <= _SHIFTED_UP_TO:
        return candidates
    step = boxes.max() + np.float32(1)
    return candidates._replace(boxes=boxes + (candidates.labels.astype(np.float32) * step)[:, None])


def _greedy(boxes: Floats, threshold: float, limit: int) -> Indices:
    """Return which boxes are kept of those of one label, the best first."""
    bound = np.float32(threshold)
    if float(bound) > threshold:  # torchvision compares with the threshold in double precision
        bound = np.nextafter(bound, np.float32(-1))
    kept = np.arange(0)
    for start in range(0, len(boxes), _BLOCK):
        rest = np.arange(start, min(start + _BLOCK, len(boxes)))
        if len(kept):
            rest = rest[~(overlaps(boxes[kept], boxes[rest]) > bound).any(axis=0)]
        over = overlaps(boxes[rest], boxes[rest]) > bound
        gone = np.zeros(len(rest), bool)
        chosen = []
        for row in range(len(rest)):
            if not gone[row]:
                chosen.append(row)
                gone |= over[row]
        kept = np.concatenate([kept, rest[chosen]])
        if len(kept) >= limit:
            break
    return kept[:limit]
