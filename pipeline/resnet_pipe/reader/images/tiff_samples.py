"""Read the samples of a TIFF image from its strips or tiles, which the libtiff in Pillow decompresses."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.images.library_stderr import standard_error
from resnet_pipe.reader.images.tiff_directory import Directory, tiff_file
from resnet_pipe.reader.images.tiff_layout import NONE, YCBCR, Layout

Samples = NDArray[np.uint8] | NDArray[np.uint16]

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_BLOCK = 1 << 20
"""How many samples are unpacked at a time, to limit memory."""
_LONG, _LONG8, _BIG_HEADER = 4, 16, 16
"""TIFF types of 4 and of 8 bytes; bytes of the header of a BigTIFF file."""


def read_samples(directory: Directory, layout: Layout, accept_truncated: bool) -> Samples:
    """Decompress the image of a layout, one of `LOSSLESS`, to samples as stored, 0 to 2 ** bits - 1.

    Their shape is (H, W, S), of an image in planes only the needed ones. With `accept_truncated`, data beyond
    the end of the file are zeros, if it is not compressed.

    Raises:
        SourceError: `truncated`, `damaged` or `unsupported`.
        ValueError: libtiff cannot decompress it.
    """
    chunks = _Chunks(directory, layout, accept_truncated)
    if not layout.planar:
        return chunks.plane(0)
    wanted = layout.colours + layout.associated
    return np.concatenate([chunks.plane(number) for number in range(wanted)], axis=2)


def check_it_is_whole(directory: Directory, layout: Layout) -> None:
    """Raise `SourceError` unless all strips or tiles of an image are stored, and lie within the file."""
    chunks = _Chunks(directory, layout, accept_truncated=False)
    for number in range(chunks.count):
        chunks.compressed(number)


class _Chunks:
    """The strips or tiles of an image, or a `SourceError`: `truncated` or `damaged`."""

    def __init__(self, directory: Directory, layout: Layout, accept_truncated: bool) -> None:
        self._data = directory.data
        self._order = directory.order
        self._layout = layout
        self._accept_truncated = accept_truncated
        self._across = -(-layout.width // layout.chunk_width)
        self._down = -(-layout.height // layout.chunk_height)
        self._compressed = layout.compression != NONE or layout.photometric == YCBCR
        self._samples = 1 if layout.planar else layout.samples
        self._row_bytes = (layout.chunk_width * self._samples * layout.bits + 7) // 8
        self._rows = self._down * layout.chunk_height * self._across if layout.tiled else layout.height
        self._offsets = directory.numbers(324 if layout.tiled else 273)
        self._sizes = directory.numbers(325 if layout.tiled else 279)
        self.count = self._across * self._down * (layout.samples if layout.planar else 1)
        if not self._sizes and len(self._offsets) == 1:
            self._sizes = (max(0, len(self._data) - self._offsets[0]),)
        if len(self._offsets) < self.count or (self._compressed and len(self._sizes) < self.count):
            raise SourceError("reader", "damaged", "the location of some of its pixels is missing")

    def plane(self, number: int) -> Samples:
        """Return one plane, shape (H, W, 1), or all samples if they are not in planes, (H, W, S)."""
        layout = self._layout
        count = self._across * self._down
        chunks = range(number * count, (number + 1) * count)
        rows = self._decompressed(chunks) if self._compressed else self._stored(chunks)
        values = _unpack(rows, layout.chunk_width * self._samples, layout.bits, self._order)
        pixels = values.reshape(self._rows, layout.chunk_width, self._samples)
        if layout.differences:
            pixels = np.add.accumulate(pixels, axis=1, dtype=pixels.dtype)
        if layout.tiled:
            shape = self._down, self._across, layout.chunk_height, layout.chunk_width, self._samples
            width = self._across * layout.chunk_width
            whole = pixels.reshape(shape).swapaxes(1, 2).reshape(-1, width, self._samples)
            pixels = whole[: layout.height, : layout.width]
        return pixels

    def _stored(self, chunks: range) -> NDArray[np.uint8]:
        """Return the rows of uncompressed chunks, whose sizes may be missing from the tags."""
        pieces, missing = [], self._rows
        for chunk in chunks:
            rows = min(missing, self._layout.chunk_height)
            missing -= rows
            start, size = self._offsets[chunk], rows * self._row_bytes
            piece = self._data[start : start + size]
            if len(piece) < size and not self._accept_truncated:
                raise SourceError("reader", "truncated", "it ends before its pixels do")
            pieces.append(piece.ljust(size, b"\0"))
        data = b"".join(pieces)
        if self._layout.reversed_bits:
            data = data.translate(_REVERSED)
        return np.frombuffer(data, np.uint8).reshape(self._rows, self._row_bytes)

    def _decompressed(self, chunks: range) -> NDArray[np.uint8]:
        """Return the rows of chunks that libtiff decompresses to their original bytes, whatever these mean.

        It gets an 8-bit greyscale BigTIFF file, of strips, in which every byte is a pixel.
        """
        layout, pieces = self._layout, [self.compressed(chunk) for chunk in chunks]
        sizes = np.array([len(piece) for piece in pieces], "<u8")
        numbers = {256: self._row_bytes, 257: self._rows, 258: 8, 259: layout.compression, 262: 1}
        numbers |= {266: 2 if layout.reversed_bits else 1, 277: 1, 278: layout.chunk_height}
        tags = {tag: (_LONG, 1, struct.pack("<I", value)) for tag, value in numbers.items()}
        places = _BIG_HEADER + np.cumsum(sizes) - sizes
        for tag, values in ((273, places), (279, sizes)):
            tags[tag] = _LONG8, len(pieces), values.astype("<u8").tobytes()
        file = io.BytesIO(tiff_file(pieces, tags, big=True))
        with strict_libtiff(), Image.open(file, formats=("TIFF",)) as image:
            return np.asarray(image)

    def compressed(self, chunk: int) -> bytes:
        """Return the stored bytes of a strip or tile; raise `SourceError`: `truncated` or `unsupported`."""
        start, size = self._offsets[chunk], self._sizes[chunk]
        if not size and not start:
            problem = "a sparse TIFF file: parts of the image are not stored"
            raise SourceError("reader", "unsupported", problem)
        if start + size > len(self._data):
            raise SourceError("reader", "truncated", "it ends before its pixels do")
        return self._data[start : start + size]


def _unpack(rows: NDArray[np.uint8], count: int, bits: int, order: str) -> Samples:
    """Unpack the integers in rows of bytes, shape (R, B), contiguous, to shape (R, count).

    Each row starts at a byte boundary. Below 16 bits, integers are packed from the highest bit on; `order`,
    `<` or `>`, is that of 16 bits.
    """
    if bits == 8:
        return rows[:, :count]
    if bits == 16:
        return rows.view(f"{order}u2").astype(np.uint16, copy=False)
    if bits == 1:
        return np.unpackbits(rows, axis=1, count=count)
    first = np.arange(count) * bits
    place, shift = first // 8, (24 - bits - first % 8).astype(np.uint32)
    values = np.empty((len(rows), count), np.uint16)
    step = max(1, _BLOCK // count)
    for start in range(0, len(rows), step):
        padded = np.pad(rows[start : start + step].astype(np.uint32), ((0, 0), (0, 2)))
        words = padded[:, place] << 16 | padded[:, place + 1] << 8 | padded[:, place + 2]
        values[start : start + step] = words >> shift & (1 << bits) - 1
    return values


@contextmanager
def strict_libtiff() -> Iterator[None]:
    """Raise libtiff's messages as exceptions while the block decodes a TIFF file.

    Meanwhile, the standard error of the whole process is redirected: decode in one thread only. Tags that
    Pillow does not support and a compression that libtiff was built without are a `SourceError`; all else is
    a `ValueError`, with the error of the block, if there is one, and the first line that libtiff wrote.
    """
    failed: Exception | None = None
    with standard_error() as first_line:
        try:
            yield
        except UnidentifiedImageError:  # the tags make sense, or we would not be here
            problem = "a TIFF file with a combination of tags that Pillow does not support"
            raise SourceError("reader", "unsupported", problem) from None
        except (OSError, SyntaxError, ValueError) as error:
            failed = error
        line = first_line()
    if "is not configured" in line or "is not implemented" in line:
        problem = f"a TIFF file that this build of libtiff cannot read: {line}"
        raise SourceError("reader", "unsupported", problem) from failed
    if failed is not None or line:
        raise ValueError(": ".join(str(each) for each in (failed, line) if each)) from failed
