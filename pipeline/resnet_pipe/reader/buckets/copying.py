"""The content of a large object, fetched in parts by threads, and written to a file of this machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import BinaryIO

from resnet_pipe.store.objects import Objects, StoredObject

_THREADS = 4
_PART_BYTES = 8 << 20
"""Large enough that 30 ms for each request do not matter; all of them are in memory."""
_BEAT_S = 0.5
"""How often to show that this process is alive."""


def copy(objects: Objects, found: StoredObject, target: BinaryIO, alive: Callable[[], None]) -> None:
    """Write an object that has been looked at to a file, from its beginning to its end.

    It raises what `Objects.read_part` does, and OSError where the file cannot be written.
    """
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="copy") as pool:
        parts: deque[Future[bytes]] = deque()
        try:
            for offset in range(0, found.size, _PART_BYTES):
                if len(parts) == _THREADS:
                    target.write(_awaited(parts, alive))
                size = min(_PART_BYTES, found.size - offset)
                parts.append(pool.submit(objects.read_part, found, offset, size))
            while parts:
                target.write(_awaited(parts, alive))
        finally:
            for part in parts:
                part.cancel()


def _awaited(parts: deque[Future[bytes]], alive: Callable[[], None]) -> bytes:
    """Return the first part, and call `alive` while that takes long."""
    part = parts.popleft()
    while not wait([part], _BEAT_S).done:
        alive()
    alive()
    return part.result()
