"""Whether the features of two directories put the same rows next to each other, on a sample of the rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NEAREST = 10
LEAST = NEAREST + 2
"""Rows. Of fewer, each has all others as neighbours, whatever the features are."""
MOST = 1000
_AS_NEAR = 1e-9
"""A difference of similarities that means nothing: equal images are equally near, but for rounding."""


def sample(count: int) -> NDArray[np.int64]:
    """Return which of so many rows to take: the same ones each time, one out of each equal part of them."""
    if count <= MOST:
        return np.arange(count)
    edges = np.linspace(0, count, MOST + 1).astype(np.int64)
    return np.random.default_rng(0).integers(edges[:-1], edges[1:])


def shared(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """Return the mean share of a row's nearest rows, by cosine, that are the same in both.

    Features are of shape (rows, any width), with at least `LEAST` rows.
    """
    one, other = _similarities(ours), _similarities(theirs)
    # Of both ways the lesser share: where all features are equal, any row is as near as the nearest.
    return float(np.minimum(_still_near(one, other), _still_near(other, one)).mean())


def _similarities(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosine similarity of each row with each other; that with itself is less than any."""
    values = features.astype(np.float64)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    values /= np.where(lengths > 0, lengths, 1)
    similar: NDArray[np.float64] = values @ values.T
    np.fill_diagonal(similar, -np.inf)
    return similar


def _still_near(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of each row's nearest neighbours that are among the nearest ones after."""
    nearest = np.argsort(-before, axis=1, kind="stable")[:, :NEAREST]
    limit = np.partition(after, -NEAREST, axis=1)[:, -NEAREST]
    still = np.take_along_axis(after, nearest, axis=1) >= limit[:, None] - _AS_NEAR
    shares: NDArray[np.float64] = still.mean(axis=1)
    return shares
