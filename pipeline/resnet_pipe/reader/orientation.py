"""EXIF orientations: find the one of a JPEG, and turn pictures upright."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]

ORIENTATION = 0x0112
"""The EXIF tag: 1 to 8, where row 0 and column 0 of the stored pixels are in the upright image."""
TURNED = (5, 6, 7, 8)
"""The orientations with which width and height change places."""
MOVED = (2, 3, 4, 6, 7, 8)
"""The orientations with which another corner comes to the upper left."""


def upright(frame: Frame, orientation: int) -> Frame:
    """Undo an EXIF orientation, 1 to 8; the cases are two flips and a transposition."""
    if orientation not in range(2, 9):
        return frame
    import cv2  # numpy could, at a tenth of the speed

    if orientation >= 5:
        frame = cv2.transpose(frame)  # type: ignore[assignment]
    flips = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}
    return cv2.flip(frame, flips[orientation]) if orientation in flips else frame  # type: ignore[return-value]


def jpeg_orientation(data: bytes) -> int:
    """Return the EXIF orientation of a JPEG, 1 if it has none or damaged EXIF. Much cheaper than Pillow's."""
    start = 2
    while data[start : start + 1] == b"\xff" and data[start + 1] != 0xDA:  # up to the first scan
        length = int.from_bytes(data[start + 2 : start + 4], "big")
        if data[start + 1] == 0xE1 and data[start + 4 : start + 10] == b"Exif\0\0":
            try:
                return _tiff_orientation(data[start + 10 : start + 2 + length])
            except struct.error:
                return 1
        start += 2 + length
    return 1


def _tiff_orientation(tiff: bytes) -> int:
    """Find the orientation in the first directory of a TIFF block (TIFF 6.0, section 2)."""
    order = "<" if tiff[:2] == b"II" else ">"
    (directory,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, directory)
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, entry)
        if tag == ORIENTATION:
            return int(value)
    return 1
