"""Queries of a network that chooses them itself: do two libraries find the same ones, in whatever order?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.convert.original import Outputs
from resnet_pipe.head.detectors.boxes import sigmoid, softmax
from resnet_pipe.head.detectors.detr import QUERY_BOXES, QUERY_LOGITS
from resnet_pipe.model.detection import Kind

TOLERANCE = 1e-3
"""Largest difference of a score, or of a coordinate in parts of the image: such a network reads its maps at
places that it has computed itself, layer after layer, and each one makes what rounding did larger."""
_CHOSEN_ALIKE = 0.99
"""Share of queries that must agree: where two are equally good, rounding decides which one is the last."""
KINDS: frozenset[Kind] = frozenset({"detr", "rt_detr"})


def difference(found: Outputs, expected: Outputs, kind: Kind) -> float:
    """Return the largest difference of scores and boxes between queries of the same images; nan if none fit.

    DETR's queries have an order. Of RT-DETR's, each is compared with the one that is most like it, and the
    worst hundredth does not count.
    """
    one, other = (_values(outputs, kind) for outputs in (found, expected))
    if one.shape != other.shape:
        return float("nan")
    if kind == "detr":
        return float(np.abs(one - other).max())
    return max(map(_of_sets, one, other))


def _values(outputs: Outputs, kind: Kind) -> NDArray[np.float32]:
    """Return scores and boxes of each query, float32, shape (n, queries, columns)."""
    squash = softmax if kind == "detr" else sigmoid
    return np.concatenate([squash(outputs[QUERY_LOGITS]), outputs[QUERY_BOXES]], axis=-1)


def _of_sets(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    nearest = np.full(len(found), np.inf), np.full(len(found), np.inf)
    for index, query in enumerate(found):
        apart = np.abs(expected - query).max(axis=1)
        nearest[0][index] = apart.min()
        np.minimum(nearest[1], apart, out=nearest[1])
    count = max(1, int(len(found) * _CHOSEN_ALIKE))
    return max(float(np.sort(one)[count - 1]) for one in nearest)
