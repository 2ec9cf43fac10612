"""Contents of objects, fetched by threads ahead of who reads them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from threading import Condition, Thread
from typing import Protocol

from resnet_pipe.reader.buckets.request import answer

_THREADS = 8
"""At 30 ms an object, so many fetch more than one process decodes; each costs memory, as large objects do."""
_AHEAD_BYTES = 32 << 20
"""Of contents that nobody has taken yet."""
_UNKNOWN_BYTES = 4 << 20
"""What is expected of the first object."""
_LARGEST = 1 << 30


class Readable(Protocol):
    """Objects below an address: in a bucket, `Objects`, or on a web server, `WebFiles`."""

    def read(self, name: str, at_most: int) -> bytes:
        """See `Objects.read`."""

    def __hash__(self) -> int:
        """Of what is read where: a process keeps its connections."""


class Downloads:
    """Fetches objects in the order in which they are announced, and keeps each until it is taken.

    A thread that waits for an answer holds nothing up but its own object. No more is fetched ahead than there
    is room for in memory; the next object is taken to be as large as the largest so far.
    """

    def __init__(self, objects: Readable) -> None:
        self._objects = objects
        self._queue: SimpleQueue[tuple[str, Future[bytes]] | None] = SimpleQueue()
        self._announced: dict[str, Future[bytes]] = {}
        self._threads = 0
        self._change = Condition()
        self._held: dict[Future[bytes], int] = {}
        """Bytes that are, or may be, in memory."""
        self._largest = 0
        self._closed = False

    def announce(self, name: str) -> None:
        """Have an object fetched, without waiting."""
        if name in self._announced:
            return
        self._announced[name] = Future()
        self._queue.put((name, self._announced[name]))
        if self._threads < _THREADS:
            self._threads += 1
            Thread(target=self._fetch_ahead, name="download ahead", daemon=True).start()

    def take(self, name: str, alive: Callable[[], None]) -> bytes:
        """Return the content of an object; `alive` is called while that takes long.

        It may raise what `Readable.read` does, or MemoryError.
        """
        future = self._announced.pop(name, None)
        if future is None or future.cancel():  # before its turn came
            future = Future()
            Thread(target=self._fetch, args=(name, future), name="download", daemon=True).start()
        try:
            return answer(future, alive)
        finally:
            with self._change:
                self._held.pop(future, None)
                self._change.notify_all()

    def close(self) -> None:
        """Have the threads end, each after the object that it is fetching; nothing can be taken any more."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        for _ in range(self._threads):
            self._queue.put(None)

    def _fetch_ahead(self) -> None:
        while (announced := self._queue.get()) is not None:
            name, future = announced
            with self._change:
                self._change.wait_for(partial(self._has_room, future))
                if self._closed:
                    return
                if not future.set_running_or_notify_cancel():
                    continue
                self._held[future] = self._largest or _UNKNOWN_BYTES
            self._fetch(name, future)

    def _fetch(self, name: str, future: Future[bytes]) -> None:
        try:
            data = self._objects.read(name, _LARGEST)
        except BaseException as error:  # whatever it is, `take` will raise it
            self._hold(future, 0)
            future.set_exception(error)
        else:
            self._hold(future, len(data))
            future.set_result(data)

    def _hold(self, future: Future[bytes], size: int) -> None:
        with self._change:
            self._held[future] = size
            self._largest = max(self._largest, size)
            self._change.notify_all()

    def _has_room(self, future: Future[bytes]) -> bool:
        expected = self._largest or _UNKNOWN_BYTES
        room = not self._held or sum(self._held.values()) + expected <= _AHEAD_BYTES
        return room or self._closed or future.cancelled()
