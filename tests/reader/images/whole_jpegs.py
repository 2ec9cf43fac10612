"""Whole JPEG files, decoded by us and by others; and copies of them that are damaged."""

from __future__ import annotations

import io
import random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.images.decode import decode
from tests.jpegs import segment
from tests.photographs import encode, photograph, pixels

Frame = NDArray[np.uint8]

SMALL = photograph().resize((97, 65))
PLAIN = encode(SMALL, "JPEG")
JFIF = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")


def read(data: bytes, min_side: int | None = None) -> Frame:
    return decode(data, 10**6, False, min_side).frame


def outcome(data: bytes, accept_truncated: bool = False) -> Frame | str:
    """Return the pixels or the class of failure."""
    try:
        return decode(data, 10**6, accept_truncated, None).frame
    except SourceError as error:
        return error.error


def pillow(data: bytes) -> Frame:
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        return pixels(image)


def damaged_copies(data: bytes, count: int) -> list[bytes]:
    """Return copies with other, or without some, bytes of the coded data."""
    chance = random.Random(count)
    start = data.index(b"\xff\xda") + 14
    copies = []
    for number in range(count):
        place = chance.randrange(start, len(data) - 2)
        middle = bytes([data[place] ^ 1 << chance.randrange(8)]) if number % 2 else b""
        copies.append(data[:place] + middle + data[place + chance.randrange(1, 4) :])
    return copies
