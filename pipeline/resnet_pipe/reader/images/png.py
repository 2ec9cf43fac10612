"""Find the one defect of a PNG file that Pillow does not: data that are whole, but not the whole image."""

from __future__ import annotations

import struct
import zlib

_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column and row, and the steps, of the seven passes of an interlaced PNG."""


def lacks_rows(data: bytes) -> bool:
    """Inflate the image data of a PNG file that Pillow has decoded: are they fewer than its header promises?

    Pillow does not, and leaves the missing rows black. The format: https://www.w3.org/TR/png-3/, sections 5,
    8 (interlacing) and 10 (compression).
    """
    width, height, depth, color, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    missing = 0
    for left, top, right, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -((left - width) // right), -((top - height) // down)
        missing += max(0, rows) * (1 + (columns * bits + 7) // 8) if columns > 0 else 0
    inflater, start = zlib.decompressobj(), 8
    while missing > 0 and start + 12 <= len(data):
        length = int.from_bytes(data[start : start + 4], "big")
        if data[start + 4 : start + 8] == b"IDAT":
            missing -= len(inflater.decompress(data[start + 8 : start + 8 + length], missing))
        start += 12 + length
    return missing > 0
