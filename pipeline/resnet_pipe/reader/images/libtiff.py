"""Decompress TIFF data with the libtiff in Pillow, and catch its messages."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.images.library_stderr import standard_error


def decompress(
    chunks: Sequence[bytes], compression: int, reversed_bits: bool, row_bytes: int, rows: int, chunk_rows: int
) -> NDArray[np.uint8]:
    """Decompress strips or tiles to their original bytes, whatever these mean, in shape (rows, row_bytes).

    libtiff gets an 8-bit greyscale BigTIFF file in which every byte is a pixel. A chunk has `chunk_rows` of
    the `rows`; the last one may have fewer. `reversed_bits`: the lowest bit of a compressed byte is its
    first.

    Raises:
        SourceError: `unsupported`: libtiff was built without this compression.
        ValueError: they cannot be decompressed.
    """
    sizes = [len(chunk) for chunk in chunks]
    places = 16 + np.cumsum([0, *sizes])
    lists = np.array([*places[:-1], *sizes], "<u8").tobytes()
    tags = {256: row_bytes, 257: rows, 258: 8, 259: compression, 262: 1, 266: 2 if reversed_bits else 1}
    tags |= {277: 1, 278: chunk_rows}
    entries = [struct.pack("<HHQQ", tag, _LONG, 1, value) for tag, value in tags.items()]
    for tag, values, place in ((273, places, 0), (279, sizes, 8 * len(sizes))):
        value = values[0] if len(sizes) == 1 else places[-1] + place
        entries.append(struct.pack("<HHQQ", tag, _LONG8, len(sizes), value))
    directory = struct.pack("<Q", len(entries)) + b"".join(sorted(entries)) + bytes(8)
    header = struct.pack("<2sHHHQ", b"II", 43, 8, 0, places[-1] + len(lists))
    file = io.BytesIO(b"".join((header, *chunks, lists, directory)))
    with strict(), Image.open(file, formats=("TIFF",)) as image:
        return np.asarray(image)


_LONG, _LONG8 = 4, 16
"""TIFF types of 4 and of 8 bytes."""


@contextmanager
def strict() -> Iterator[None]:
    """Raise libtiff's messages as exceptions while the block decodes a TIFF file.

    Meanwhile, the standard error of the whole process is redirected: decode in one thread only. A compression
    that libtiff was built without is a `SourceError`; all else is a `ValueError`, with the error of the
    block, if there is one, and the first line that libtiff wrote.
    """
    failed: Exception | None = None
    with standard_error() as first_line:
        try:
            yield
        except (OSError, SyntaxError, ValueError) as error:
            failed = error
        line = first_line()
    if "is not configured" in line or "is not implemented" in line:
        problem = f"a TIFF file that this build of libtiff cannot read: {line}"
        raise SourceError("reader", "unsupported", problem) from failed
    if failed is not None or line:
        raise ValueError(": ".join(str(each) for each in (failed, line) if each)) from failed
