"""How much the numbers of each common row differ, in two directories."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.study import neighbours
from resnet_pipe.study.agreement import cosines
from resnet_pipe.study.blocks import Values
from resnet_pipe.study.neighbours import Neighbours
from resnet_pipe.study.stored import Stored

Vector = Literal["features", "logits"]

_ROWS = 1024
"""That are multiplied at once, as float64."""


@dataclass(frozen=True)
class Classes:
    """How the best classes agree, by their index.

    Attributes:
        k: how many of each row are compared.
        same_best: share of the rows with the same best class.
        shared: mean share of the k best classes that are the same, in any order.
        max_score_difference: of the first directory's best class; over the rows where the second one has that
            class among its own. None if there is no such row.
    """

    k: int
    same_best: float
    shared: float
    max_score_difference: float | None


@dataclass(frozen=True)
class RowDifferences:
    """The common rows, and how each differs.

    Attributes:
        rows: numbers of the common rows in the first directory, in its order.
        vector: what `cosine` is of.
        cosine: of each common row; None if no vector can be compared.
        same_best: of each common row, whether its best class is the same; None without `top_k` in both.
    """

    rows: NDArray[np.int64]
    vector: Vector | None
    cosine: NDArray[np.float64] | None
    same_best: NDArray[np.bool_] | None
    classes: Classes | None
    neighbours: Neighbours | None

    @property
    def differences(self) -> NDArray[np.float64] | None:
        """Return what the largest accepted difference is compared with; None if no row can be judged."""
        if self.cosine is not None:
            return 1 - self.cosine
        return None if self.same_best is None else np.where(self.same_best, 0.0, 1.0)


def compare(
    ours: Stored, theirs: Stored, matches: NDArray[np.int64], vector: Vector | None, fields: Collection[str]
) -> RowDifferences:
    """Compare rows, at least one, block by block of the first directory.

    `matches` is the number in the second directory of each row of the first one, or -1. Of the fields, which
    both have, the vector is compared by its cosine similarity, `top_k` by its classes, and of features also
    which rows are near each other.
    """
    rows = np.flatnonzero(matches >= 0)
    found = _Found(len(rows), vector, fields)
    for block in ours.blocks:
        first, end = np.searchsorted(rows, (block.start, block.start + block.rows))
        if first < end:
            part = rows[first:end]
            found.add(int(first), ours.values(part, fields), theirs.values(matches[part], fields))
    return found.result(rows)


class _Found:
    """What has been found so far."""

    def __init__(self, count: int, vector: Vector | None, fields: Collection[str]) -> None:
        self._vector = vector
        self._cosine = np.empty(count) if vector else None
        self._has_classes = "top_k" in fields
        self._same_best = np.zeros(count, np.bool_)
        self._shared = np.zeros(count)
        self._score_difference = np.full(count, np.nan)
        self._k = 0
        self._sample = neighbours.sample(count) if "features" in fields else np.empty(0, np.int64)
        self._sampled: tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]] = [], []

    def add(self, first: int, ours: Values, theirs: Values) -> None:
        """Add consecutive rows; `first` is the number of the first one among the common rows."""
        if self._vector and self._cosine is not None:
            one, other = ours[self._vector], theirs[self._vector]
            for start in range(0, len(one), _ROWS):
                part = slice(start, start + _ROWS)
                similar = _exact_cosines(one[part], other[part])
                self._cosine[first + start : first + start + len(similar)] = similar
        if self._has_classes:
            self._add_classes(slice(first, first + len(ours["index"])), ours, theirs)
        if len(self._sample):
            end = first + len(ours["features"])
            at = self._sample[slice(*np.searchsorted(self._sample, (first, end)))] - first
            for values, kept in zip((ours, theirs), self._sampled, strict=True):
                kept.append(values["features"][at])

    def _add_classes(self, rows: slice, ours: Values, theirs: Values) -> None:
        k = min(ours["index"].shape[1], theirs["index"].shape[1])
        self._k = max(self._k, k)
        best = ours["index"][:, :1]
        self._same_best[rows] = best[:, 0] == theirs["index"][:, 0]
        # No class is twice among those of a row: what is there twice is in both.
        both = np.sort(np.concatenate([ours["index"][:, :k], theirs["index"][:, :k]], axis=1), axis=1)
        self._shared[rows] = ((both[:, 1:] == both[:, :-1]) & (both[:, 1:] >= 0)).sum(axis=1) / k
        again = theirs["index"] == best
        score = np.where(again, theirs["score"], 0).sum(axis=1)
        differences = np.abs(ours["score"][:, 0].astype(np.float64) - score)
        self._score_difference[rows] = np.where(again.any(axis=1), differences, np.nan)

    def result(self, rows: NDArray[np.int64]) -> RowDifferences:
        """Return all of it."""
        classes = near = None
        if self._has_classes:
            known = self._score_difference[~np.isnan(self._score_difference)]
            largest = float(known.max()) if len(known) else None
            classes = Classes(self._k, float(self._same_best.mean()), float(self._shared.mean()), largest)
        if len(self._sample):
            near = neighbours.compare(*map(np.concatenate, self._sampled))
        same_best = self._same_best if self._has_classes else None
        return RowDifferences(rows, self._vector, self._cosine, same_best, classes, near)


def _exact_cosines(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosine similarity of each row: exactly 1, without a rounding error, of equal ones."""
    similar = cosines(ours, theirs)
    similar[(ours == theirs).all(axis=1)] = 1.0
    return similar
