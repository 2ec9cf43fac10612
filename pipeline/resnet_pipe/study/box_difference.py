"""How the boxes of two directories differ, in the rows that both have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.study.matching import IOU, apart
from resnet_pipe.study.stored_rows import Values
from resnet_pipe.writer.writer import RowKey


@dataclass(frozen=True)
class Boxes:
    """Figures over all boxes of the common rows.

    Two boxes are a pair if they have one class and overlap by `iou`; each box is in one pair at most.

    Attributes:
        a: how many A has; `b` likewise.
        matched: the share of the boxes of both that are in a pair; 1 if there are none.
        only_a: how many of A's have no partner in B; `only_b` likewise.
        mean_difference: of the largest difference of a coordinate of each pair, in pixels of the source;
            None without a pair, as the following ones.
        mean_score_difference: of the scores of each pair.
        worst: the rows with the most boxes without a partner, and how many these are.
    """

    iou: float
    a: int
    b: int
    matched: float
    only_a: int
    only_b: int
    mean_difference: float | None
    max_difference: float | None
    mean_score_difference: float | None
    max_score_difference: float | None
    worst: Sequence[tuple[RowKey, int]]


def compare(ours: NDArray[np.object_], theirs: NDArray[np.object_]) -> Values:
    """Return how many boxes each row has, and how far apart those of each pair are; see `stored_boxes`."""
    pairs = [apart(one, other) for one, other in zip(ours[:, 0], theirs[:, 0], strict=True)]
    return {
        "boxes_a": np.array([len(boxes) for boxes in ours[:, 0]]),
        "boxes_b": np.array([len(boxes) for boxes in theirs[:, 0]]),
        "pairs": np.array([len(pair.corners) for pair in pairs]),
        "corners": np.concatenate([pair.corners for pair in pairs]),
        "box_scores": np.concatenate([pair.scores for pair in pairs]),
    }


def of_rows(keys: Sequence[RowKey], found: Values, named: int) -> Boxes:
    """Return the figures of what `compare` gave for rows with these keys; so many of the worst are named."""
    a, b, pairs = (int(found[name].sum()) for name in ("boxes_a", "boxes_b", "pairs"))
    alone = found["boxes_a"] + found["boxes_b"] - 2 * found["pairs"]
    worst = [at for at in np.argsort(-alone, kind="stable")[:named] if alone[at]]
    corners, scores = found["corners"], found["box_scores"]
    return Boxes(
        iou=IOU,
        a=a,
        b=b,
        matched=2 * pairs / (a + b) if a + b else 1.0,
        only_a=a - pairs,
        only_b=b - pairs,
        mean_difference=float(corners.mean()) if pairs else None,
        max_difference=float(corners.max()) if pairs else None,
        mean_score_difference=float(scores.mean()) if pairs else None,
        max_score_difference=float(scores.max()) if pairs else None,
        worst=[(keys[at], int(alone[at])) for at in worst],
    )
