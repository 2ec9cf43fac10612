"""Decode HEIC and other HEIF images with pillow-heif, from the extra `heif`."""

from __future__ import annotations

import re

import numpy as np
from PIL import Image

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.orientation import Frame
from resnet_pipe.reader.source import check_size

_BOXES = frozenset([b"ftyp", b"meta", b"mdat", b"moov", b"free", b"skip", b"uuid", b"idat", b"styp", b"sidx"])
"""The top-level boxes of a file; anything after them is not part of it."""
_SAID = {
    "Unsupported": "unsupported",
    "Invalid input: Unexpected end of file": "truncated",
    "Invalid input: Security limit exceeded": "too_large",
    "Memory allocation error: Security limit exceeded": "too_large",
}
"""The start of libheif's messages, and the class of failure."""


def decode(data: bytes, max_pixels: int, accept_truncated: bool) -> Frame:
    """Decode the primary image to uint8, shape (H, W, 3), RGB, contiguous, upright.

    Samples of more than 8 bits keep the upper 8; alpha is dropped. libheif applies the file's rotation; the
    EXIF orientation must be ignored by the standard, and describes the camera's sensor. With
    `accept_truncated`, what comes after the primary image may be missing.

    Raises:
        SourceError: `unsupported`, `truncated` or `too_large`.
        ImportError: pillow-heif is installed, but cannot be imported.
        ValueError: libheif finds the file damaged.
    """
    try:
        import pillow_heif
    except ModuleNotFoundError as error:
        if error.name != "pillow_heif":
            raise
        problem = "HEIC image; to read it: pip install 'resnet-pipe[heif]'"
        raise SourceError("reader", "unsupported", problem) from None
    if not accept_truncated and is_short(data):
        raise SourceError("reader", "truncated", "HEIF data shorter than the header says")
    # Nothing but the image itself; what else there is may be damaged.
    options = pillow_heif.options
    options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
    options.DECODE_THREADS = 1  # there are as many workers as processors
    try:
        file = pillow_heif.open_heif(without_exif(data))
        width, height = file.size
        check_size(width, height, max_pixels)
        image: Image.Image = file.to_pillow()
    except Exception as error:
        text = " ".join(str(error).split())
        for start, kind in _SAID.items():
            if text.startswith(start):
                raise SourceError("reader", kind, f"libheif: {text}") from None
        raise
    opaque = {"RGBa": "RGBA", "La": "LA"}.get(image.mode)
    return np.asarray((image.convert(opaque) if opaque else image).convert("RGB"))


def is_short(data: bytes) -> bool:
    """Return whether a file of boxes (ISO/IEC 14496-12, 4.2), such as HEIF or AVIF, ends within a box."""
    start, seen = 0, set()
    while (kind := data[start + 4 : start + 8]) in _BOXES:
        size = int.from_bytes(data[start : start + 4], "big")
        if size == 1:
            size = int.from_bytes(data[start + 8 : start + 16], "big")
        if size < 8:
            return False  # 0: up to the end of the file; anything else is damage
        start += size
        if start > len(data):
            return True
        seen.add(kind)
    return len(kind) < 4 and b"mdat" not in seen  # after the pixels, a few bytes more are harmless


def without_exif(data: bytes) -> bytes:
    """Return a HEIF or AVIF file without its reference to EXIF.

    The libraries refuse an image with damaged EXIF. Nothing is lost: the rotation is stored elsewhere in
    the file (ISO/IEC 23008-12, section 6.5.10).
    """
    return _EXIF_ITEM.sub(rb"\1free", data)


_EXIF_ITEM = re.compile(rb"(infe.{8})Exif", re.DOTALL)
"""An entry of the list of items: version, numbers, and the type (ISO/IEC 14496-12, section 8.11.6)."""
