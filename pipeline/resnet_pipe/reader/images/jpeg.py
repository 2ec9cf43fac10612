"""Decode JPEG files: everything that libjpeg can decode, but never pixels that it has made up."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
import simplejpeg
from PIL import Image

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.images import jpeg_segments
from resnet_pipe.reader.images.library_stderr import standard_error
from resnet_pipe.reader.orientation import MOVED, TURNED, Frame, upright
from resnet_pipe.reader.source import Item, check_size

_END_OF_IMAGE = b"\xff\xd9"
_NOT_NAMED = "Could not determine subsampling level"
"""The error of TurboJPEG 2's functions, which simplejpeg calls, for subsamplings that have no name there."""
_PILLOW_MODES = {1: ("L", "L"), 3: ("RGB", "RGB"), 4: ("CMYK", "CMYK;I")}
"""Modes by number of components, of the image and of the file: inks are stored inverted, as Adobe's
programs do, which make these files."""

_Verdict = Literal["harmless", "damaged", "truncated"]
"""What a warning says: all pixels are those of the file, some may have been made up, the end was missing."""
_WARNINGS: tuple[tuple[str, _Verdict, str], ...] = (
    # About headers: none of these values takes part in decoding.
    ("Warning: unknown JFIF revision number", "harmless", "nothing but this warning depends on it"),
    ("Invalid SOS parameters for sequential JPEG", "harmless", "sequential decoding ignores them"),
    ("Unknown Adobe color transform code", "harmless", "the usual one is taken: YCbCr, or YCCK"),
    ("Corrupt JPEG data: bad ICC marker", "harmless", "colour profiles are not applied"),
    # Bytes that belong to no segment. Between headers they are skipped; after a scan they may be what is left
    # of its data because the decoder lost its place in them, so the file is decoded once more without them.
    (r"Corrupt JPEG data: \d+ extraneous bytes before", "harmless", "if it decodes without them"),
    # About coded data: the decoder goes on with zeros, or from a place that it guesses.
    ("Corrupt JPEG data: premature end of data segment", "damaged", "zeros stand in for the rest"),
    ("Corrupt JPEG data: bad Huffman code", "damaged", "a zero stands in for it"),
    ("Corrupt JPEG data: bad arithmetic code", "damaged", "zeros stand in for the rest"),
    (r"Corrupt JPEG data: found marker 0x\w+ instead of RST", "damaged", "a restart interval is lost"),
    ("Inconsistent progression sequence", "damaged", "a scan that others refine is missing"),
    ("Premature end of JPEG file", "truncated", "an end of image is put in"),
    ("Application transferred too many scanlines", "damaged", "no reader asks for more than there are"),
)
"""Start of a message, verdict, and reason: every JWRN_* of jerror.h, libjpeg-turbo 2.1 to 3.2, judged by what
its sources do when they issue it. Only the first warning is reported, and it may hide others."""


def decode(data: bytes, max_pixels: int, accept_truncated: bool, min_side: int | None) -> Item:
    """Decode a JPEG file, as `decode.decode` does.

    libjpeg-turbo, through simplejpeg, reports warnings, unlike Pillow and OpenCV. It reports only the first
    one: if that is harmless, the file is decoded again without all harmless oddities, and must then give
    none.

    Raises:
        SourceError: `truncated`, `damaged`, `too_large` or `unsupported`.
    """
    attempt = partial(_decode, data, max_pixels, accept_truncated, min_side)
    try:
        try:
            return attempt(data)
        except ValueError as error:
            if _verdict(str(error)) != "harmless":
                raise
        if data.count(b"\n") == data.count(b"\r\n") > 1:
            # Its tables are wrong then, and what is pushed out of them looks like an oddity.
            raise SourceError("reader", "damaged", "its line ends were converted: it was copied as a text")
        return _mended(jpeg_segments.tidied(data), attempt)
    except ValueError as error:
        raise _failure(data, str(error)) from error


def _verdict(message: str) -> _Verdict | None:
    """Return what a message of libjpeg means; None if it is an error, not a warning."""
    return next((meaning for pattern, meaning, _ in _WARNINGS if re.match(pattern, message)), None)


def _mended(tidy: bytes, attempt: Callable[[bytes], Item]) -> Item:
    """Decode a `tidied` file without the zeros that some cameras append as padding.

    The coded data may end with a zero byte. If one is needed, all its bits must be: else it replaces missing
    bits.
    """
    try:
        return attempt(tidy)
    except ValueError as error:
        if _verdict(str(error)) != "harmless":
            raise
    try:
        return attempt(jpeg_segments.unpadded(tidy, b""))
    except ValueError as error:
        short = error
    try:
        attempt(jpeg_segments.unpadded(tidy, b"\1"))
    except ValueError:
        return attempt(jpeg_segments.unpadded(tidy, b"\0"))
    raise short


def _failure(data: bytes, message: str) -> SourceError:
    meaning = _verdict(message)
    if meaning == "truncated":
        return SourceError("reader", "truncated", message)
    if meaning is None:
        header = jpeg_segments.frame_header(data)
        if header is None and _END_OF_IMAGE not in data:
            return SourceError("reader", "truncated", f"it ends within the header: {message}")
        if header and (kind := header.beyond_libjpeg()):
            return SourceError("reader", "unsupported", f"{kind}: libjpeg cannot decode it")
    return SourceError("reader", "damaged", message)


def _decode(
    original: bytes, max_pixels: int, accept_truncated: bool, min_side: int | None, data: bytes
) -> Item:
    """Decode `data`, a file without its oddities, or raise `ValueError`; `original` has its metadata."""
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    except (KeyError, ValueError) as error:
        # A KeyError is a subsampling that TurboJPEG has a name for and simplejpeg not: 1x4.
        if isinstance(error, ValueError) and _NOT_NAMED not in str(error):
            raise
        return _any_sampling(data, original, max_pixels, accept_truncated)
    check_size(width, height, max_pixels)
    orientation = jpeg_segments.orientation(original)
    # libjpeg-turbo decodes a lossless JPEG to its whole size, even into an array that is made for less.
    factor = 1
    if min_side and not jpeg_segments.is_lossless(data):
        factor = _reduction(height, width, min_side, orientation)
    size = (-(-height // factor), -(-width // factor)) if factor > 1 else (0, 0)
    inks = space in ("CMYK", "YCCK")
    frame = upright(_pixels(data, inks, size, accept_truncated), orientation)
    if factor == 1:
        return Item(frame)
    whole, extent = (width, height), (width / factor, height / factor)
    if orientation in TURNED:
        whole, extent = whole[::-1], extent[::-1]
    partial = height % factor or width % factor
    return Item(frame, extent=extent if partial else None, whole=whole)


def _reduction(height: int, width: int, min_side: int, orientation: int) -> int:
    """Return the reduction factor: 8, 4, 2 or 1. libjpeg-turbo has SIMD code only for these.

    It offers all eighths, but decoding to 7/8 takes longer than to full size, and 3/8 longer than 1/2.
    If rotation moves the last column or row to the front, it must be covered entirely.
    """
    for factor in (8, 4, 2):
        partial = height % factor or width % factor
        if min(height, width) >= min_side * factor and not (partial and orientation in MOVED):
            return factor
    return 1


def _pixels(data: bytes, inks: bool, size: tuple[int, int], accept_truncated: bool) -> Frame:
    """Decode to RGB, not yet upright; `size` is height and width if reduced, else zeros."""
    colorspace = "CMYK" if inks else "RGB"
    least = {"min_height": size[0], "min_width": size[1]}
    try:
        frame: Frame = simplejpeg.decode_jpeg(data, colorspace, strict=True, **least)
    except ValueError as error:
        if not (accept_truncated and _verdict(str(error)) == "truncated"):
            raise
        frame = simplejpeg.decode_jpeg(data, colorspace, strict=False, **least)
    if inks:
        # Adobe's programs, which make these files, store the inverse of each ink; Pillow assumes it as well.
        return np.asarray(Image.frombytes("CMYK", frame.shape[1::-1], (~frame).tobytes()).convert("RGB"))
    return frame


def _any_sampling(data: bytes, original: bytes, max_pixels: int, accept_truncated: bool) -> Item:
    """Decode subsamplings that TurboJPEG does not know with libjpeg itself, through Pillow, at full size.

    Pillow hides warnings; OpenCV, which decodes the file as well, lets libjpeg write them to stderr.
    """
    header = jpeg_segments.frame_header(data)
    if header is None or header.beyond_libjpeg():
        raise ValueError("its header cannot be read")
    check_size(header.width, header.height, max_pixels)
    complaint = _complaint(data)
    if complaint and not (accept_truncated and _verdict(complaint) == "truncated"):
        raise ValueError(complaint)
    mode, stored_mode = _PILLOW_MODES[len(header.factors)]
    size, ended = (header.width, header.height), data + _END_OF_IMAGE
    frame = np.asarray(Image.frombytes(mode, size, ended, "jpeg", stored_mode, "").convert("RGB"))
    return Item(upright(frame, jpeg_segments.orientation(original)))


def _complaint(data: bytes) -> str:
    """Return libjpeg's message when OpenCV decodes a file; "" if there is none."""
    import cv2

    with standard_error() as first_line:
        # To an eighth, because that is quicker, and all coded data are read nevertheless.
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8)
        complaint = first_line()
    if complaint:
        return complaint
    if not jpeg_segments.ends(data):  # OpenCV keeps that to itself
        return "Premature end of JPEG file"
    return "" if decoded is not None else "OpenCV does not decode it"
