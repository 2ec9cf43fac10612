"""One row a source: the mean or the maximum over its frames."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.model.output import Activation
from resnet_pipe.writer.rows import Rows, top_k
from resnet_pipe.writer.writer import Shard, Written

Sums = dict[str, NDArray[np.float64]]


class Aggregated:
    """A shard that is given one row for each source instead of one for each frame.

    `features` and `logits` are aggregated in float64; `top_k` is that of the aggregated logits. The row's
    `frame_index` and `pts_s` are null. Memory does not grow with the number of frames.

    Args:
        shard: gets the rows.
        how: `mean` or `max`.
        k: entries of `top_k`; 0 if the shard has none.
        activation: how scores are computed from the aggregated logits.
    """

    def __init__(
        self, shard: Shard, how: Literal["mean", "max"], k: int, activation: Activation = "softmax"
    ) -> None:
        self._shard = shard
        self._how = how
        self._k = k
        self._activation = activation
        self._path: str | None = None
        self._count = 0
        self._so_far: Sums = {}

    def append(self, rows: Rows) -> None:
        """Add frames; the rows of the sources before the last one go on to the shard."""
        for key, part in rows.by_source():
            self._add(key, rows, part)

    def close(self) -> Written:
        """Complete the shard."""
        self._flush()
        return self._shard.close()

    def discard(self) -> None:
        """Give up the shard."""
        self._shard.discard()

    def _add(self, key: str, rows: Rows, part: slice) -> None:
        if key != self._path:
            self._flush()
            self._path = key
        over, start = (np.add, 0.0) if self._how == "mean" else (np.maximum, -np.inf)
        for name, values in (("features", rows.features), ("logits", rows.logits)):
            if values is None:
                continue
            for row in values[part]:  # one by one: where batches begin must not change the sum
                so_far = self._so_far.setdefault(name, np.full(row.shape, start))
                over(so_far, row, out=so_far)
        self._count += part.stop - part.start

    def _flush(self) -> None:
        if self._path is None:
            return
        divisor = self._count if self._how == "mean" else 1
        values = {name: (total / divisor).astype(np.float32)[None] for name, total in self._so_far.items()}
        logits = values.get("logits")
        self._shard.append(
            Rows(
                path=[self._path],
                frame_index=[None],
                pts_s=[None],
                features=values.get("features"),
                logits=logits,
                top_k=top_k(logits, self._k, self._activation) if logits is not None and self._k else None,
            )
        )
        self._path, self._count, self._so_far = None, 0, {}
