"""The streams of an engine: what each forward pass needs for itself, lent to one thread at a time."""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Stream = TypeVar("Stream")


class Streams(Generic[Stream]):
    """Lends streams, of which there is at least one, to as many threads."""

    def __init__(self, streams: Iterable[Stream]) -> None:
        self._idle: queue.SimpleQueue[Stream] = queue.SimpleQueue()
        for stream in streams:
            self._idle.put(stream)

    @contextmanager
    def one(self) -> Iterator[Stream]:
        """Lend a stream for the length of the block; wait if all of them are busy."""
        stream = self._idle.get()
        try:
            yield stream
        finally:
            self._idle.put(stream)
