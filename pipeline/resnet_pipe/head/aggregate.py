"""One row a source: the mean or the maximum of what the network gave for its frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.head.rows import Place

Result = tuple[list[Place], dict[str, NDArray[np.float32]]]
"""One row: the place of a source without a frame, and each output, float32, shape (1, width).

What comes after the place of an item is that of the source's last one.
"""


class Aggregate:
    """Takes the outputs for frames, and gives those for sources, of which a head then makes rows.

    It comes before the head so that what is computed from outputs, such as the best classes, is computed from
    the aggregated ones. Sums are in float64. Memory does not grow with the number of frames.
    """

    def __init__(self, how: Literal["mean", "max"]) -> None:
        self._how = how
        self._over: np.ufunc = np.add if how == "mean" else np.maximum
        self._start = 0.0 if how == "mean" else -np.inf
        self._place: Place | None = None
        self._count = 0
        self._so_far: dict[str, NDArray[np.float64]] = {}

    def add(self, places: Sequence[Place], outputs: Mapping[str, NDArray[np.float32]]) -> Iterator[Result]:
        """Add frames, those of a source together; yield the sources before the last one."""
        for index, place in enumerate(places):  # one by one: where batches begin must not change the sum
            if self._place is None or place[0] != self._place[0]:
                yield from self.end()
                self._so_far = {name: np.full(each.shape[1:], self._start) for name, each in outputs.items()}
            self._place = place
            for name, so_far in self._so_far.items():
                self._over(so_far, outputs[name][index], out=so_far)
            self._count += 1

    def end(self) -> Iterator[Result]:
        """Yield the last source, if there is one."""
        if self._place is None:
            return
        divisor = self._count if self._how == "mean" else 1
        values = {name: (total / divisor).astype(np.float32)[None] for name, total in self._so_far.items()}
        key, _, _, *rest = self._place
        place: Place = (key, None, None, *rest)  # type: ignore[assignment]  # of the same length
        self._place, self._count = None, 0
        yield [place], values
