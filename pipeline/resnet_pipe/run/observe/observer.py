"""What a run tells those who only watch it: the history for its report, and the trace."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.run.workers.messages import Outputs, ReadyBatch


class Forward(NamedTuple):
    """A forward pass on a batch, uint8, shape (rows, H, W, 3): what it gave, its lane, from when to when."""

    ready: ReadyBatch
    batch: NDArray[np.uint8]
    outputs: Outputs
    lane: int
    start: float
    end: float


class Observer(Protocol):
    """Is told what every batch went through. Times are of `time.perf_counter`, which all processes share."""

    def ready(self, ready: ReadyBatch) -> None:
        """A worker has posted a message."""

    def inferred(self, done: Forward) -> None:
        """A lane has executed a batch. From its own thread."""

    def written(self, ready: ReadyBatch, start: float, end: float) -> None:
        """The rows of a message have been written. From the writer's thread."""
