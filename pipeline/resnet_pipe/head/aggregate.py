"""One row a source: the mean or the maximum of what the network gave for its frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.head.rows import Place

Result = tuple[list[Place], dict[str, NDArray[np.float32]]]
"""One row: the place of a source without a frame, and each output, float32, shape (1, width)."""


class Aggregate:
    """Takes the outputs for frames, and gives those for sources, of which a head then makes rows.

    It comes before the head so that what is computed from outputs, such as the best classes, is computed from
    the aggregated ones. Sums are in float64. Memory does not grow with the number of frames.
    """

    def __init__(self, how: Literal["mean", "max"]) -> None:
        self._how = how
        self._key: str | None = None
        self._count = 0
        self._so_far: dict[str, NDArray[np.float64]] = {}

    def add(self, places: Sequence[Place], outputs: Mapping[str, NDArray[np.float32]]) -> Iterator[Result]:
        """Add frames, those of a source together; yield the sources before the last one."""
        start = 0
        for key, group in groupby(key for key, *_ in places):
            if key != self._key:
                yield from self.end()
                self._key = key
            count = sum(1 for _ in group)
            self._add({name: values[start : start + count] for name, values in outputs.items()})
            self._count += count
            start += count

    def end(self) -> Iterator[Result]:
        """Yield the last source, if there is one."""
        if self._key is None:
            return
        divisor = self._count if self._how == "mean" else 1
        values = {name: (total / divisor).astype(np.float32)[None] for name, total in self._so_far.items()}
        place = self._key, None, None
        self._key, self._count, self._so_far = None, 0, {}
        yield [place], values

    def _add(self, outputs: Mapping[str, NDArray[np.float32]]) -> None:
        over, start = (np.add, 0.0) if self._how == "mean" else (np.maximum, -np.inf)
        for name, values in outputs.items():
            so_far = self._so_far.setdefault(name, np.full(values.shape[1:], start))
            for row in values:  # one by one: where batches begin must not change the sum
                over(so_far, row, out=so_far)
