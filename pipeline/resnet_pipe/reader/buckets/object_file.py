"""An object in a bucket whose bytes are read wherever they are wanted."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from typing import BinaryIO

from resnet_pipe.errors import SourceError
from resnet_pipe.reader import file
from resnet_pipe.reader.buckets.read_ahead import ReadAhead
from resnet_pipe.reader.buckets.request import answer, started
from resnet_pipe.reader.source import Source, version_of
from resnet_pipe.store.objects import Objects, StoredObject

_COPIED_BYTES = 4 << 20
"""At a time: as much as a request gives."""


class ObjectFile:
    """An object, as `Opened`. When it has been replaced, reading it is an OSError with `ESTALE`."""

    def __init__(
        self, objects: Objects, name: str, alive: Callable[[], None], listed: Source | None = None
    ) -> None:
        """Look at it, if no listing has just told about it.

        Raises:
            SourceError: `missing`, `empty` or `unreadable`.
        """
        self.size, self.version = listed[1:3] if listed else _looked_at(objects, name, alive)
        if not self.size:
            raise SourceError("reader", "empty", "the object is empty")
        self._objects, self._name = objects, name
        self.place = f"{objects}/{name}"
        self.stamp = json.dumps([self.place, objects.storage.endpoint, self.size, self.version])
        self._ahead = ReadAhead(self.fetch, self.size)
        self._is_current = True

    def is_current(self) -> bool:
        """See `Opened.is_current`: until reading it fails, nothing is asked."""
        return self._is_current

    def read_at(self, offset: int, size: int, alive: Callable[[], None] = lambda: None) -> bytes:
        """See `Opened.read_at`."""
        try:
            return self._ahead.read(offset, size, alive)
        except OSError:
            self._is_current = False
            raise

    def fetch(self, offset: int, size: int) -> bytes:
        """Return some bytes, all of which are there; for any thread. It raises what `read_at` does."""
        found, data = self._objects.read_part(self._name, offset, size)
        if (self.size, self.version) != _identity(found):
            raise OSError(errno.ESTALE, "the object has been replaced while it was read", self.place)
        if len(data) != size:
            raise OSError(errno.EIO, f"{len(data)} bytes came instead of {size}", self.place)
        return data

    def announce(self, offset: int, size: int) -> None:
        """See `Opened.announce`."""
        self._ahead.announce(offset, size)

    def let_go(self, _offset: int, _size: int) -> None:
        """See `Opened.let_go`: nothing of it is kept."""

    def copy_to(self, target: BinaryIO, alive: Callable[[], None]) -> None:
        """Write all of it to a file; OSError also where that cannot be written."""
        self.announce(0, self.size)
        for offset in range(0, self.size, _COPIED_BYTES):
            target.write(self.read_at(offset, _COPIED_BYTES, alive))
            alive()

    def close(self) -> None:
        """See `Opened.close`."""
        self._ahead.close()


def _looked_at(objects: Objects, name: str, alive: Callable[[], None]) -> tuple[int, int]:
    try:
        found = answer(started(lambda: objects.look(name)), alive)
    except OSError as error:
        raise file.refusal(error) from None
    if found is None:
        raise SourceError("reader", "missing", "no such object")
    return _identity(found)


def _identity(found: StoredObject) -> tuple[int, int]:
    """Return the size and the version of the source that an object is."""
    return found.size, version_of(found.size, found.tag)
