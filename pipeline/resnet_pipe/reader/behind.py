"""Let the system forget what has been read: a run over very much leaves the memory to other programs.

Linux keeps what was read from a disk in memory, in the place of what other programs have read before. Of
files that a run reads once, that is of no use. So each process gives back what lies behind where it reads.
"""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from dataclasses import dataclass

_KEPT_BYTES = 32 << 20
"""Of what was read last, so much stays: of one file, several processes read near each other."""
_KEPT_PIECES = 64
"""Descriptors are few, often 1024."""
_PIECE_BYTES = 4 << 20
_ALIGNED_BYTES = 2 << 20
"""Linux reads ahead in blocks of up to this size, each in memory as a whole, and drops none of which it is
told to drop a part. So a piece begins with the block that the one before it ends in."""


@dataclass
class _Piece:
    """Bytes of a file, from `start` to before `end`, with a descriptor of its own."""

    file: tuple[int, int]
    descriptor: int
    start: int
    end: int

    def takes(self, file: tuple[int, int], start: int, end: int) -> bool:
        """Tell whether other bytes are dropped together with these: they come next, or are among them."""
        follows = self.start <= start <= self.end + _ALIGNED_BYTES
        return file == self.file and follows and (end <= self.end or self.end - self.start < _PIECE_BYTES)


class Behind:
    """What a process has read and will not read again, and what the system may soon drop of it.

    Attributes:
        room: bytes of one file that may stay in memory until it is read a second time; None if nothing is
            dropped at all.
    """

    def __init__(self) -> None:
        self.room: int | None = None
        self._pieces: deque[_Piece] = deque()

    def keeps(self, size: int) -> bool:
        """Tell whether a file of so many bytes may stay in memory until it is read a second time."""
        return self.room is None or size <= self.room

    def let_go(self, descriptor: int, offset: int, size: int) -> None:
        """Say that bytes of an open file, which may be closed then, are not read again soon.

        They are dropped when this process has read more. What was said last is kept: if the next is of the
        same bytes, as of two clips of one video, it is read from memory. No error comes of it.
        """
        if self.room is None or size <= 0 or not hasattr(os, "posix_fadvise"):
            return
        with suppress(OSError):  # of a file that is gone, or too many that are open
            state = os.fstat(descriptor)
            file, end = (state.st_dev, state.st_ino), offset + size
            last = self._pieces[-1] if self._pieces else None
            if last is not None and last.takes(file, offset, end):
                last.end = max(last.end, end)
            else:
                self._pieces.append(_Piece(file, os.dup(descriptor), offset, end))
        kept = sum(piece.end - piece.start for piece in self._pieces)
        while len(self._pieces) > 1 and (len(self._pieces) > _KEPT_PIECES or kept > _KEPT_BYTES):
            piece = self._pieces.popleft()
            kept -= piece.end - piece.start
            _drop(piece)


def _drop(piece: _Piece) -> None:
    start = piece.start // _ALIGNED_BYTES * _ALIGNED_BYTES
    try:
        with suppress(OSError):  # a file system that cannot
            os.posix_fadvise(piece.descriptor, start, piece.end - start, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(piece.descriptor)


behind = Behind()
"""That of this process."""
