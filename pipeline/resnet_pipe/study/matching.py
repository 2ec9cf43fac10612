"""How many of the boxes that two executions of a network find are the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.head.detectors.boxes import COLUMNS, overlaps
from resnet_pipe.head.detectors.settings import DetectorSettings

IOU = 0.9
"""How much two boxes overlap at least to be the same, intersection over union."""
SCORE = 0.05
"""How far their scores may be apart; and how far above the least score a box must be to count."""
LEAST = {"fp32": 0.98, "fp16": 0.9, "bf16": 0.9, "int8": 0.8}
"""By precision: the share of the boxes that must be the same. Which of two near-equal boxes of one object
survives can depend on the last bit."""


def matched(found: NDArray[np.float32], reference: NDArray[np.float32], settings: DetectorSettings) -> float:
    """Return the share of the boxes of each that the other has too; 1 if neither has any.

    Both are float32, shape (n, max_detections * 6), as a detector gives them. Two boxes are the same if they
    have one class and overlap by `IOU`, and their scores differ by `SCORE` at most. Boxes whose score is just
    enough to be kept count only as partners of others.
    """
    shape = len(found), -1, COLUMNS
    same = total = 0
    for ours, theirs in zip(found.reshape(shape), reference.reshape(shape), strict=True):
        for one, other in ((ours, theirs), (theirs, ours)):
            counted = one[one[:, 4] > settings.score + SCORE]
            total += len(counted)
            same += int(_have_partner(counted, other[other[:, 4] > 0]).sum())
    return same / total if total else 1.0


def _have_partner(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.bool_]:
    alike = (overlaps(boxes[:, :4], others[:, :4]) >= IOU) & (boxes[:, 5][:, None] == others[:, 5])
    alike &= np.abs(boxes[:, 4][:, None] - others[:, 4]) <= SCORE
    found: NDArray[np.bool_] = alike.any(axis=1)
    return found
