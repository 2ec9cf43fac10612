"""What a file is that is none of what its place is for: what copies and downloads leave, most often."""

from __future__ import annotations

import re

COPY_AGAIN = "copy or download it again"
START = 512
"""Bytes at the beginning of a file that tell what it is."""
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "Zstandard"}


def told_by(start: bytes) -> tuple[str, str] | None:
    """Return what a file is, and what to do; None if its first `START` bytes do not tell.

    It is neither text nor markup if it is what it should be.
    """
    if not start:
        return "is empty", COPY_AGAIN
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the weights themselves", "git lfs pull"
    if re.match(rb"\s*<(!doctype|html|\?xml)", start, re.IGNORECASE):
        remedy = "open it to see what it says, then download the file itself"
        return "is a web page or a server's reply, not the file itself", remedy
    for signature, name in _COMPRESSED.items():
        if start.startswith(signature):
            return f"is compressed with {name}", "unpack it first"
    return None
