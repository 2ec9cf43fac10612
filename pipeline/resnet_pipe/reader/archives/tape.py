"""The bytes of a tar file, whatever has compressed it: by offset, or as a stream that is read forwards."""

from __future__ import annotations

from bisect import bisect_right
from typing import Protocol

from resnet_pipe.reader.archives.decompress import Alive, Decompressor, Gunzip, Unzstd
from resnet_pipe.reader.file import refusal
from resnet_pipe.reader.opened import Opened

_AT_ONCE = 8 << 20
"""Bytes that are read at a time."""
_MARKS = 256
"""How many places in a stream are remembered at most, 40 KiB each."""
_BETWEEN_MARKS = 1 << 20
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x2a\x4d\x18"
"""The end of the magic number of a frame of Zstandard without data; some compressors begin with one."""


class Tape(Protocol):
    """The bytes of a tar file.

    Reading may raise a `SourceError`: `truncated`, `damaged` or `unreadable`.
    """

    forwards: bool
    """Whether going back means to begin anew, and skipping to read."""

    @property
    def reached(self) -> int:
        """How many bytes there are; of a stream, as far as it was read."""

    def read_at(self, offset: int, size: int, alive: Alive) -> bytes:
        """Return so many bytes, or fewer at the end; `alive` is called often if that takes long."""


def tape_of(opened: Opened, alive: Alive) -> Tape:
    """Return the bytes of a tar file, which gzip or Zstandard may have compressed: its content tells."""
    try:
        begin = opened.read_at(0, 4, alive)
    except OSError as error:
        raise refusal(error) from None
    if begin.startswith(_GZIP):
        return StreamTape(Gunzip(opened))
    if begin == _ZSTD or (begin.endswith(_SKIPPABLE) and begin[0] >> 4 == 5):
        return StreamTape(Unzstd(opened))
    return PlainTape(opened)


class PlainTape:
    """A tar file that is not compressed."""

    forwards = False

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self.reached = opened.size

    def read_at(self, offset: int, size: int, alive: Alive) -> bytes:
        """See `Tape.read_at`."""
        parts = []
        try:
            while size > 0 and (part := self._opened.read_at(offset, min(size, _AT_ONCE), alive)):
                parts.append(part)
                offset, size = offset + len(part), size - len(part)
                alive()
        except OSError as error:
            raise refusal(error) from None
        return b"".join(parts)


class StreamTape:
    """A compressed tar file. Where its decompressor can be copied, going back is cheap: to the next mark."""

    forwards = True

    def __init__(self, decompressor: Decompressor) -> None:
        self._decompressor = decompressor
        self._chunk = b""
        self._start = 0
        """Where the chunk begins."""
        self._marks = [(0, decompressor.copy())]
        """Copies of the decompressor, by where they go on: at first, at the beginning."""
        self._between = _BETWEEN_MARKS

    @property
    def reached(self) -> int:
        """See `Tape.reached`."""
        return self._start + len(self._chunk)

    def read_at(self, offset: int, size: int, alive: Alive) -> bytes:
        """See `Tape.read_at`."""
        start, mark = self._marks[bisect_right(self._marks, offset, key=lambda mark: mark[0]) - 1]
        if offset < self._start or self.reached < start:
            self._start, self._chunk, self._decompressor = start, b"", mark.copy()
        while offset >= self.reached:
            if not self._go_on(alive):
                return b""
        parts = []
        while size > 0:
            part = self._chunk[offset - self._start :][:size]
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
            if size and not self._go_on(alive):
                break
        return b"".join(parts)

    def _go_on(self, alive: Alive) -> bool:
        try:
            chunk = self._decompressor.chunk(alive)
        except OSError as error:
            raise refusal(error) from None
        self._start, self._chunk = self.reached, chunk
        if self._decompressor.is_cheap and self.reached >= self._marks[-1][0] + self._between:
            self._marks.append((self.reached, self._decompressor.copy()))
            if len(self._marks) > _MARKS:
                self._marks, self._between = self._marks[::2], 2 * self._between
        alive()
        return bool(chunk)
