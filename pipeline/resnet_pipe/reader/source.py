"""Sources, their keys, and decoded items: the words every reader speaks."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Source(NamedTuple):
    """One input that the user named: an image file or a video file. All three fields are its identity.

    Attributes:
        key: path below the reader's root, in the reversible text form of `key_of`.
        size: bytes.
        mtime_ns: time of last modification, nanoseconds since 1970.
    """

    key: str
    size: int
    mtime_ns: int


class Item(NamedTuple):
    """One thing that the network sees, decoded.

    Attributes:
        frame: uint8, shape (H, W, 3), RGB, any size of at least 1 x 1.
        frame_index: position in presentation order from 0; None for an image.
        pts_s: presentation time in seconds; None for an image.
    """

    frame: NDArray[np.uint8]
    frame_index: int | None = None
    pts_s: float | None = None


def key_of(relative: str) -> str:
    r"""Return the key of a path below the root: valid text for any file name, and reversible.

    A backslash is doubled, and a byte that is not UTF-8 becomes `\xNN`. Everything else stays as it is.

    Args:
        relative: as the operating system gave it, undecodable bytes as surrogates (PEP 383).
    """
    if "\\" in relative:
        relative = relative.replace("\\", "\\\\")
    if relative.isascii():
        return relative
    return re.sub("[\udc80-\udcff]", lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", relative)


def path_of(root: Path, key: str) -> Path:
    """Return the file that a key of `key_of` names below `root`."""
    if "\\" in key:
        key = re.sub(r"\\(\\|x[0-9a-f]{2})", _unescape, key)
    return root / key


def _unescape(escape: re.Match[str]) -> str:
    return "\\" if escape[1] == "\\" else os.fsdecode(bytes([int(escape[1][1:], 16)]))
