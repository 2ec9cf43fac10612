"""An object in a bucket whose bytes are read wherever they are wanted."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import BinaryIO

from resnet_pipe.errors import SourceError
from resnet_pipe.reader import file
from resnet_pipe.reader.buckets.copying import copy
from resnet_pipe.reader.source import version_of
from resnet_pipe.store.objects import Objects

_BLOCK_BYTES = 4 << 20
"""Fetched at least: reading goes on where it has ended, nearly always."""


class ObjectFile:
    """An object, as `Opened`."""

    def __init__(self, objects: Objects, name: str) -> None:
        """Look at it; raises a `SourceError` that is `missing`, `empty` or `unreadable`."""
        try:
            found = objects.look(name)
        except OSError as error:
            raise file.refusal(error) from None
        if found is None:
            raise SourceError("reader", "missing", "no such object")
        if not found.size:
            raise SourceError("reader", "empty", "the object is empty")
        self._objects, self._found = objects, found
        self.size, self.version = found.size, version_of(found.size, found.tag)
        self.place = f"{objects}/{name}"
        self.stamp = json.dumps([self.place, found.size, found.tag])
        self._start, self._block = 0, b""
        """What was fetched last, and where it begins."""

    def is_current(self) -> bool:
        """See `Opened.is_current`: reading tells."""
        return True

    def read_at(self, offset: int, size: int) -> bytes:
        """See `Opened.read_at`."""
        size = max(0, min(size, self.size - offset))
        if offset < self._start or offset + size > self._start + len(self._block):
            wanted = min(max(size, _BLOCK_BYTES), self.size - offset)
            self._start, self._block = offset, self._objects.read_part(self._found, offset, wanted)
        return self._block[offset - self._start :][:size]

    def announce(self, offset: int, size: int) -> None:
        """See `Opened.announce`."""

    def copy_to(self, target: BinaryIO, alive: Callable[[], None]) -> None:
        """See `copying.copy`: all of it."""
        copy(self._objects, self._found, target, alive)

    def close(self) -> None:
        """See `Opened.close`."""
        self._block = b""
