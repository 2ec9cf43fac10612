"""What decompresses archives: gzip with zlib, Zstandard with pyarrow, both in little memory."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Protocol

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.opened import Opened

_CHUNK = 256 << 10
"""Bytes that are read, and that are decompressed, at a time."""
_GZIP_FORMAT = 31
"""For zlib: with the header and the checksum of gzip."""

Alive = Callable[[], None]
"""What is called often by all that may take long."""


class Decompressor(Protocol):
    """Decompresses a file, piece by piece.

    Attributes:
        is_cheap: whether a copy goes on where this one is. If not, it begins anew.
    """

    is_cheap: bool

    def chunk(self, alive: Alive) -> bytes:
        """Return what comes next; nothing at the end.

        Raises:
            SourceError: `truncated` or `damaged`.
            OSError: the file cannot be read.
        """

    def copy(self) -> Decompressor:
        """Return another one."""


class Gunzip:
    """Decompresses what gzip has compressed, however many parts it has; other bytes after them are none."""

    is_cheap = True

    def __init__(self, file: Opened, at: int = 0, part: Any = None) -> None:  # noqa: ANN401 - zlib has no name for it
        self._file = file
        self._at = at
        """Where in the file the decompressor of the current part goes on; between two parts it is None."""
        self._part = part

    def chunk(self, alive: Alive) -> bytes:
        """See `Decompressor.chunk`."""
        while data := self._file.read_at(self._at, _CHUNK, alive):
            self._file.let_go(self._at, len(data))
            if self._part is None:
                if data[:1] != b"\x1f":
                    return b""
                self._part = zlib.decompressobj(_GZIP_FORMAT)
            try:
                chunk = self._part.decompress(data, _CHUNK)
            except zlib.error as error:
                raise SourceError("reader", "damaged", f"gzip cannot decompress it: {error}") from None
            self._at += len(data) - len(self._part.unused_data or self._part.unconsumed_tail)
            if self._part.eof:
                self._part = None
            if chunk:
                return bytes(chunk)
        if self._part is not None:
            raise SourceError("reader", "truncated", "it ends in the middle of what gzip has compressed")
        return b""

    def copy(self) -> Gunzip:
        """See `Decompressor.copy`."""
        return Gunzip(self._file, self._at, self._part and self._part.copy())


class Unzstd:
    """Decompresses what Zstandard has compressed, however many frames it has."""

    is_cheap = False

    def __init__(self, file: Opened) -> None:
        self._file = file
        self._reading = _Reading(file)
        self._stream: Any = None
        self._problem: SourceError | None = None

    def chunk(self, alive: Alive) -> bytes:
        """See `Decompressor.chunk`."""
        self._reading.alive = alive
        if self._stream is None:
            self._stream = _zstd_stream(self._reading)
        try:
            data: bytes = b"" if self._problem else self._stream.read(_CHUNK)
        except OSError as error:
            if error.errno:  # of the disk
                raise
            is_short = "Truncated" in str(error)
            text = "it ends in the middle of what Zstandard has compressed"
            if not is_short:
                text = f"Zstandard cannot decompress it: {' '.join(str(error).split())}"
            self._problem = SourceError("reader", "truncated" if is_short else "damaged", text)
        if self._problem is not None:
            raise self._problem
        return data

    def copy(self) -> Unzstd:
        """See `Decompressor.copy`."""
        return Unzstd(self._file)


def _zstd_stream(file: _Reading) -> Any:  # noqa: ANN401 - of pyarrow
    import pyarrow as pa

    return pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd")


class _Reading:
    """A file as pyarrow reads it, from its beginning; which does not close the file in the end."""

    closed = False
    alive: Alive

    def __init__(self, file: Opened) -> None:
        self._file = file
        self._at = 0

    def read(self, size: int) -> bytes:
        data = self._file.read_at(self._at, size, self.alive)
        self._file.let_go(self._at, len(data))
        self._at += len(data)
        return data

    def close(self) -> None:
        self.closed = True
