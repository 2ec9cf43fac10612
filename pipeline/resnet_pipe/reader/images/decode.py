"""Turn the bytes of an image file into RGB pixels, or say what is wrong with them; never invent pixels."""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.images import heif, jpeg, tiff
from resnet_pipe.reader.images.format import format_of
from resnet_pipe.reader.images.metadata import without_metadata
from resnet_pipe.reader.orientation import Frame, metadata_orientation, upright
from resnet_pipe.reader.source import Item, check_size

_PLAIN_MODES = frozenset(["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"])
"""Pillow's 8-bit modes, which `convert("RGB")` maps to RGB as everyone does; alpha is dropped."""

_TRUNCATED = re.compile(r"truncated|premature end of jpeg file", re.IGNORECASE)
"""How the decoders say that a file ends too early."""

_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column and row, and the steps, of the seven passes of an interlaced PNG."""


def decode(data: bytes, max_pixels: int, accept_truncated: bool, min_side: int | None) -> Item:
    """Decode a whole image file to a frame, contiguous and upright, and its extent.

    JPEG is decoded by libjpeg (see `jpeg`), HEIF by pillow-heif, everything else by Pillow; what the pixels
    of a TIFF mean is interpreted here. An image may have up to `max_pixels`, width times height. With
    `accept_truncated`, what is there of a file that ends early is returned, if the decoder can. With
    `min_side`, a JPEG may be decoded to 1/2, 1/4 or 1/8 of its size, as long as its shorter side keeps this
    many pixels.

    Raises:
        SourceError: `unknown_format`, `truncated`, `damaged`, `too_large` or `unsupported` (an image that has
            no 8-bit RGB form, such as one with floating-point numbers).
        MemoryError: there is not enough memory even for an ordinary image.
    """
    try:
        name = format_of(data)
        if name == "JPEG":
            return jpeg.decode(data, max_pixels, accept_truncated, min_side)
        return Item(_decode_with_pillow(name, data, max_pixels, accept_truncated))
    except (SourceError, ImportError):
        raise
    except MemoryError:
        np.empty(64 << 20, np.uint8)  # what a photograph needs, and more: raises it again if there is none
        raise SourceError("reader", "too_large", "not enough memory to decode it") from None
    except Exception as error:  # whatever a decoder may raise on hostile bytes
        text = " ".join(str(error).split()) or type(error).__name__
        kind = "truncated" if _TRUNCATED.search(text) else "damaged"
        if text.startswith("Unsupported"):  # Pillow, of BMP
            kind = "unsupported"
        raise SourceError("reader", kind, text) from error


def _decode_with_pillow(name: str, data: bytes, max_pixels: int, accept_truncated: bool) -> Frame:
    if name == "HEIF":
        return heif.decode(data, max_pixels, accept_truncated)
    if _is_short(name, data):
        raise SourceError("reader", "truncated", f"{name} data, shorter than their header says")
    if name == "AVIF":
        if not accept_truncated and heif.is_short(data):
            raise SourceError("reader", "truncated", "AVIF data shorter than the header says")
        data = heif.without_exif(data)
    with _pillow_settings(accept_truncated):
        if name == "TIFF":
            return tiff.decode(data, max_pixels, accept_truncated)
        try:
            image = Image.open(io.BytesIO(without_metadata(name, data)), formats=(name,))
        except UnidentifiedImageError:
            raise ValueError(f"{name} data whose header cannot be read") from None
        with image:
            check_size(image.width, image.height, max_pixels)
            image.load()
            if name == "PNG" and not accept_truncated and _may_lack_rows(image) and _lacks_rows(data):
                problem = "its compressed data are whole, but not the whole image"
                raise SourceError("reader", "truncated", problem)
            frame = _rgb(image)
            info = image.info
            if name == "AVIF":  # its properties say how it is turned: Pillow tells it as EXIF, and not as XMP
                info = {"exif": info.get("exif", b"")}
            return upright(frame, metadata_orientation(info))


def _may_lack_rows(image: Image.Image) -> bool:
    """Tell whether Pillow may have left rows as they were before decoding, all zero."""
    last_row = image.crop((0, image.height - 1, image.width, image.height))
    return "interlace" in image.info or last_row.getbbox(alpha_only=False) is None


def _lacks_rows(data: bytes) -> bool:
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


def _is_short(name: str, data: bytes) -> bool:
    """Tell what Pillow calls a damaged header, and cannot decode in part, for what it is."""
    if name == "WEBP":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    return name == "PNG" and len(data) < 33  # the signature and the first chunk


@contextmanager
def _pillow_settings(accept_truncated: bool) -> Iterator[None]:
    """Set what Pillow keeps in module variables, and keep its warnings off stderr.

    Its limit on pixels is off: ours is checked as soon as the size is known.
    """
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = None, accept_truncated
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = before


def _rgb(image: Image.Image) -> Frame:
    if image.mode == "I;16":  # Pillow's own conversion clips everything above 255 to white
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[:, :, np.newaxis], 3, axis=2)
    if image.mode not in _PLAIN_MODES:
        raise SourceError("reader", "unsupported", f"pixels of mode {image.mode} have no 8-bit RGB form")
    return np.asarray(image.convert("RGB"))
