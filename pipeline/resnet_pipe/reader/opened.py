"""A file whose bytes are read wherever they are wanted: on a disk, or in a bucket."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from resnet_pipe.reader import file
from resnet_pipe.reader.behind import behind

if TYPE_CHECKING:
    from typing_extensions import Buffer

_AT_ONCE = 8 << 20


class Opened(Protocol):
    """A file that is open, and stays the one it was: who replaces it does not change what is read."""

    @property
    def place(self) -> str:
        """Its path or its address."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def version(self) -> int:
        """That of its `Source`."""

    @property
    def stamp(self) -> str:
        """Text that no other content there has had."""

    def is_current(self) -> bool:
        """Tell whether the file of this name is still the one that was opened, as far as that is cheap."""

    def read_at(self, offset: int, size: int, alive: Callable[[], None] = lambda: None) -> bytes:
        """Return so many bytes, or fewer at the end; OSError if they cannot be read.

        `alive` is called while a server lets wait for them.
        """

    def announce(self, offset: int, size: int) -> None:
        """Have bytes read ahead, without waiting: they are read in the order of the announcements."""

    def let_go(self, offset: int, size: int) -> None:
        """Say that bytes are not read again soon, by this process: see `Behind.let_go`."""

    def close(self) -> None:
        """Close it."""


class DiskFile:
    """A regular file of a disk, as `Opened`."""

    def __init__(self, path: Path, passing: bool = False) -> None:
        """Open it; raises what `file.open_file` does. A passing one is removed soon: nothing is let go."""
        self.path = path
        self._passing = passing
        self._file = file.open_file(path)
        try:
            state = os.fstat(self._file.fileno())
        except OSError as error:
            self._file.close()
            raise file.refusal(error) from None
        self.size, self.version = state.st_size, state.st_mtime_ns
        self.place, self.stamp = str(path), _stamp(path, state)

    def is_current(self) -> bool:
        """See `Opened.is_current`."""
        try:
            return _stamp(self.path, self.path.stat()) == self.stamp
        except OSError:
            return False

    def read_at(self, offset: int, size: int, _alive: object = None) -> bytes:
        """See `Opened.read_at`."""
        parts = []
        while size > 0 and (part := os.pread(self._file.fileno(), min(size, _AT_ONCE), offset)):
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
        return b"".join(parts)

    def announce(self, offset: int, size: int) -> None:
        """See `Opened.announce`."""
        file.read_ahead(self._file.fileno(), offset, size)

    def let_go(self, offset: int, size: int) -> None:
        """See `Opened.let_go`."""
        if not self._passing:
            behind.let_go(self._file.fileno(), offset, size)

    def close(self) -> None:
        """See `Opened.close`."""
        self._file.close()


def _stamp(path: Path, state: os.stat_result) -> str:
    """Return what a file is. The time of the last change of the inode is what nobody can set."""
    return json.dumps([os.fspath(path), state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns])


class AsFile(io.RawIOBase):
    """An open file as Python's own, unbuffered, from its beginning; closing it closes that, too.

    Attributes:
        alive: is called while reading takes long.
    """

    def __init__(self, opened: Opened, alive: Callable[[], None] = lambda: None) -> None:
        self._opened = opened
        self.alive = alive
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset, and return it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._opened.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        """Return the offset."""
        return self._at

    def readinto(self, buffer: Buffer) -> int:
        """Read into a buffer as much as fits, and return how many bytes that is."""
        view = memoryview(buffer).cast("B")
        data = self._opened.read_at(self._at, len(view), self.alive)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        """Close it."""
        if not self.closed:
            self._opened.close()
        super().close()
