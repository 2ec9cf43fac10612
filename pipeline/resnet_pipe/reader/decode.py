"""Turn the bytes of an image file into RGB pixels, or say what is wrong with them; never invent pixels."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from resnet_pipe.errors import SourceError
from resnet_pipe.reader import jpeg, libtiff
from resnet_pipe.reader.limit import check_size
from resnet_pipe.reader.metadata import without_metadata
from resnet_pipe.reader.orientation import ORIENTATION, upright
from resnet_pipe.reader.png import lacks_rows
from resnet_pipe.reader.source import Item

Frame = NDArray[np.uint8]

_ORDINARY_BYTES = 64 << 20
"""What an ordinary photograph needs, and more."""
_SIGNATURES = {
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "WEBP": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
    "BMP": re.compile(rb"BM"),
    "TIFF": re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+"),
    "GIF": re.compile(rb"GIF8[79]a"),
    "AVIF": re.compile(rb".{4}ftyp(avif|avis|mif1|msf1)", re.DOTALL),
    "DIB": re.compile(rb"[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
}
"""The first bytes of the formats that Pillow decodes for us, under Pillow's names."""

_PLAIN_MODES = frozenset(["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"])
"""Pillow's 8-bit modes, which `convert("RGB")` maps to RGB as everyone does; alpha is dropped."""

_TRUNCATED = re.compile(r"truncated|premature end of jpeg file", re.IGNORECASE)
"""How the decoders say that a file ends too early."""


def decode(data: bytes, max_pixels: int, accept_truncated: bool, min_side: int | None) -> Item:
    """Decode an image file.

    JPEG is decoded by libjpeg (see `jpeg`), everything else by Pillow.

    Args:
        data: the whole file.
        max_pixels: width times height of the largest image to decode.
        accept_truncated: return what there is of a file that ends too early, where the decoder can.
        min_side: if given, a JPEG may be decoded to 1/2, 1/4 or 1/8 of its size, as long as its shorter side
            keeps this many pixels.

    Returns:
        The frame, contiguous and upright, and its extent.

    Raises:
        SourceError: `unknown_format`, `truncated`, `damaged`, `too_large` or `unsupported` (an image that
            has no honest 8-bit RGB form, such as one of floating-point numbers).
        MemoryError: there is no memory, not even for an ordinary image.
    """
    try:
        if data.startswith(b"\xff\xd8\xff"):
            return jpeg.decode(data, max_pixels, accept_truncated, min_side)
        return Item(_decode_with_pillow(data, max_pixels, accept_truncated))
    except (SourceError, ImportError):
        raise
    except MemoryError:
        np.empty(_ORDINARY_BYTES, np.uint8)  # raises it once more if others would find no memory either
        raise SourceError("reader", "too_large", "not enough memory to decode it") from None
    except Exception as error:  # whatever a decoder may raise on hostile bytes
        raise _failure(error) from error


def _failure(error: Exception) -> SourceError:
    text = " ".join(str(error).split()) or type(error).__name__
    return SourceError("reader", "truncated" if _TRUNCATED.search(text) else "damaged", text)


def _decode_with_pillow(data: bytes, max_pixels: int, accept_truncated: bool) -> Frame:
    name = next((name for name, signature in _SIGNATURES.items() if signature.match(data)), None)
    if name is None:
        raise SourceError("reader", "unknown_format", f"not an image we know: it begins with {data[:16]!r}")
    if _is_short(name, data):
        raise SourceError("reader", "truncated", f"{name} data, shorter than their header says")
    with _pillow_settings(accept_truncated), libtiff.strict() if name == "TIFF" else nullcontext():
        try:
            image = Image.open(io.BytesIO(without_metadata(name, data)), formats=(name,))
        except UnidentifiedImageError:
            raise ValueError(f"{name} data whose header cannot be read") from None
        with image:
            check_size(image.width, image.height, max_pixels)
            image.load()
            if name == "PNG" and not accept_truncated and _may_lack_rows(image) and lacks_rows(data):
                raise SourceError(
                    "reader", "truncated", "its compressed data are whole, but not the whole image"
                )
            frame = _rgb(image)
            return upright(frame, _pillow_orientation(image))


def _may_lack_rows(image: Image.Image) -> bool:
    """Tell whether Pillow may have left rows as they were before decoding, all zero."""
    last_row = image.crop((0, image.height - 1, image.width, image.height))
    return "interlace" in image.info or last_row.getbbox(alpha_only=False) is None


def _is_short(name: str, data: bytes) -> bool:
    """Tell what Pillow calls a damaged header, and cannot decode in part, for what it is."""
    if name == "WEBP":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    if name == "TIFF" and data[2:4] in (b"*\0", b"\0*"):
        return len(data) <= int.from_bytes(data[4:8], "little" if data[:2] == b"II" else "big")
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
    if image.mode.startswith("I;16"):
        # Pillow's own conversion clips everything above 255 to white, and it forgets that 0 may mean white.
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        if image.getexif().get(_PHOTOMETRIC) == 0:
            grey = ~grey
        return np.repeat(grey[:, :, np.newaxis], 3, axis=2)
    if image.mode not in _PLAIN_MODES:
        raise SourceError("reader", "unsupported", f"pixels of mode {image.mode} have no 8-bit RGB form")
    return np.asarray(image.convert("RGB"))


_PHOTOMETRIC = 0x0106
"""The TIFF tag: 0 where 0 is white."""


def _pillow_orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:
        return 1  # damaged EXIF; the pixels are whole
