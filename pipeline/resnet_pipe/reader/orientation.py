"""Orientations: find what EXIF or XMP says, and turn pictures upright."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]

ORIENTATION = 0x0112
"""The EXIF tag: 1 to 8, where row 0 and column 0 of the stored pixels are in the upright image."""
TURNED = (5, 6, 7, 8)
"""The orientations with which width and height change places."""
MOVED = (2, 3, 4, 6, 7, 8)
"""The orientations with which another corner comes to the upper left."""

EXIF = re.compile(rb".{0,4}Exif\x00.(?:Exif\x00\x00)?", re.DOTALL | re.IGNORECASE)
"""The prefix of EXIF as cameras and programs write it: in other cases, with other bytes, or repeated."""
XMP = b"http://ns.adobe.com/xap/1.0/\x00"
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:\s*=\s*[\"']|>)\s*([0-9])")
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 13: "I"}
"""The TIFF types that fit into an entry, and their `struct` letters."""


def upright(frame: Frame, orientation: int) -> Frame:
    """Undo an EXIF orientation by two flips and a transposition; numbers that mean nothing are as 1."""
    if orientation not in range(2, 9):
        return frame
    import cv2  # numpy could, at a tenth of the speed

    if orientation >= 5:
        frame = cv2.transpose(frame)  # type: ignore[assignment]
    flips = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}
    return cv2.flip(frame, flips[orientation]) if orientation in flips else frame  # type: ignore[return-value]


def metadata_orientation(info: Mapping[str | tuple[int, int], Any]) -> int:
    """Return the orientation in Pillow's `Image.info`, for formats other than JPEG and TIFF; or 1.

    Of a PNG, only a decoded image has it all: EXIF may come after the pixels.
    """
    exif = info.get("exif", b"")
    profile = info.get("Raw profile type exif")  # how ImageMagick kept EXIF in PNG before there was a chunk
    if not exif and isinstance(profile, str):
        with suppress(ValueError):
            exif = bytes.fromhex("".join(profile.split("\n")[3:]))
    if header := EXIF.match(exif):
        exif = exif[header.end() :]
    orientation = exif_orientation(exif)
    if orientation is None:
        xmp = info.get("XML:com.adobe.xmp") or info.get("xmp") or b""
        orientation = xmp_orientation(xmp.encode() if isinstance(xmp, str) else xmp)
    return orientation or 1


def exif_orientation(exif: bytes) -> int | None:
    """Return the number in the first directory of an EXIF block, which is a TIFF header.

    The format: TIFF 6.0, section 2. The type should be SHORT; any other integer is read as well.
    """
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return None
    try:
        (directory,) = struct.unpack_from(order + "I", exif, 4)
        (entries,) = struct.unpack_from(order + "H", exif, directory)
        for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, kind, count = struct.unpack_from(order + "HHI", exif, entry)
            if tag == ORIENTATION and count and kind in _INTEGERS:
                return int(struct.unpack_from(order + _INTEGERS[kind], exif, entry + 8)[0])
    except struct.error:
        pass  # damaged; the pixels are whole
    return None


def xmp_orientation(xmp: bytes) -> int | None:
    """Return the number in XMP, an attribute or an element."""
    found = _XMP_ORIENTATION.search(xmp)
    return int(found[1]) if found else None
