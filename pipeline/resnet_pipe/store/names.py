"""Names of files in a store: text for whatever the operating system allows, and back."""

from __future__ import annotations

import os
import re
from pathlib import Path


def key_of(relative: str) -> str:
    r"""Return the key of a path below the root: valid text for any file name, and reversible.

    A backslash is doubled, and a byte that is not UTF-8, a surrogate in the path (PEP 383), becomes `\xNN`.
    Everything else stays as it is.
    """
    relative = relative.replace("\\", "\\\\")
    if relative.isascii():
        return relative
    return re.sub("[\udc80-\udcff]", lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", relative)


def path_of(root: Path, key: str) -> Path:
    """Return the file that a key of `key_of` names below `root`."""
    return root / re.sub(r"\\(\\|x[0-9a-f]{2})", _unescape, key)


def _unescape(escape: re.Match[str]) -> str:
    return "\\" if escape[1] == "\\" else os.fsdecode(bytes([int(escape[1][1:], 16)]))


def object_of(key: str) -> str:
    """Return the name of the object in a bucket for a key; some characters cannot be in one. Reversible."""
    return re.sub(r"[\x00-\x1f\x7f\\]|%(?=[0-9A-F]{2})", lambda sign: f"%{ord(sign[0]):02X}", key)


def key_of_object(name: str) -> str:
    """Return the key that `object_of` has made a name of."""
    return re.sub("%([0-9A-F]{2})", lambda code: chr(int(code[1], 16)), name)
