"""Batch slots in memory that the run and its workers share, and the word each worker keeps there."""

from __future__ import annotations

import math
import mmap
import os
from dataclasses import dataclass

import numpy as np

from resnet_pipe.errors import RunError
from resnet_pipe.machine.memory import memory_file
from resnet_pipe.preprocess.network_input import Pixels

_WORD = np.dtype([("task", np.int64), ("position", np.int64), ("number", np.int64)])
_PAGE = 4096


@dataclass(frozen=True)
class SlotShape:
    """How the shared memory is divided: each worker has a status word and `per_worker` slots of its own.

    Attributes:
        size: height and width of an item, pixels; where items have many sizes, none has more pixels.
        floats: whether pixels are float32, and not uint8.
    """

    workers: int
    per_worker: int
    batch_size: int
    size: tuple[int, int]
    floats: bool = False

    @property
    def batch_pixels(self) -> int:
        """Pixels of a batch of the largest items."""
        return self.batch_size * math.prod(self.size)

    @property
    def slot_bytes(self) -> int:
        """Bytes of a slot: those of a batch of shape (batch_size, H, W, 3)."""
        return self.batch_pixels * 3 * (4 if self.floats else 1)

    @property
    def header_bytes(self) -> int:
        """Bytes before the first slot, in whole pages."""
        return -(-self.workers * _WORD.itemsize // _PAGE) * _PAGE

    @property
    def total_bytes(self) -> int:
        """Bytes of all of it."""
        return self.header_bytes + self.workers * self.per_worker * self.slot_bytes

    def slots_of(self, worker: int) -> range:
        """Return the slots that a worker fills."""
        return range(worker * self.per_worker, (worker + 1) * self.per_worker)


class Slots:
    """The mapped memory, in the run or in a worker. Without the descriptor of one, new memory is made.

    The memory has no name in any directory: when the last process that maps it is gone, however it ended, so
    is the memory.

    Raises:
        RunError: there is not enough memory.
    """

    def __init__(self, shape: SlotShape, descriptor: int | None = None) -> None:
        self.shape = shape
        self.descriptor = _create(shape.total_bytes) if descriptor is None else descriptor
        self._begun = 0
        self._map = mmap.mmap(self.descriptor, shape.total_bytes)
        self._words = np.frombuffer(self._map, _WORD, shape.workers)
        dtype = np.float32 if shape.floats else np.uint8
        self._values = np.frombuffer(self._map, dtype, offset=shape.header_bytes).reshape(
            shape.workers * shape.per_worker, -1
        )
        self._batches: Pixels = self._values.reshape(-1, shape.batch_size, *shape.size, 3)

    def close(self) -> None:
        """Give the memory back; it is freed once no batch is in use any more. Nothing else may follow."""
        os.close(self.descriptor)
        del self._batches, self._values, self._words, self._map  # now, whoever still knows of these slots

    def batch(self, slot: int, size: tuple[int, int] | None = None) -> Pixels:
        """Return the array, shape (batch_size, H, W, 3), of a slot: a view, not a copy.

        The height and width of its items are given where they have many sizes. Such a batch begins where the
        slot does, and has no gaps.
        """
        if size is None:
            batch: Pixels = self._batches[slot]
            return batch
        shape = (self.shape.batch_size, *size, 3)
        return self._values[slot, : math.prod(shape)].reshape(shape)

    def begin(self, worker: int, task: int, position: int) -> None:
        """Note that a worker starts on a source now, or gets on with it. Survives the worker."""
        word = self._words[worker]
        word["number"] = 0
        word["task"], word["position"] = task, position
        self._begun += 1
        word["number"] = self._begun

    def end(self, worker: int) -> None:
        """Note that a worker is on no source."""
        self._words[worker]["number"] = 0

    def current(self, worker: int) -> tuple[int, int, int] | None:
        """Return (task, position, number) of the source a worker is on; each `begin` has a new number."""
        word = self._words[worker]
        number = int(word["number"])
        return (int(word["task"]), int(word["position"]), number) if number else None


def _create(size: int) -> int:
    descriptor = memory_file()
    try:
        # Reserved now: running out later would be a SIGBUS in the middle of a batch.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        else:
            os.ftruncate(descriptor, size)
    except OSError as error:
        os.close(descriptor)
        raise RunError(
            f"cannot get {size / 2**20:.0f} MiB of shared memory for the batches: {error.strerror}",
            "use a smaller infer.batch_size or fewer run.workers",
            "limits",
        ) from None
    return descriptor
