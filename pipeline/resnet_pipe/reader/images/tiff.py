"""Decode TIFF files to RGB: we interpret the tags, and libtiff, which comes with Pillow, decompresses.

Pillow's interpretation of the tags is not used, because it silently misreads some images, such as
12-bit ones, or 16-bit ones in planes. Pillow only decodes the compressions that define pixels themselves.
"""

from __future__ import annotations

import io
from contextlib import suppress

import numpy as np
from PIL import Image, TiffImagePlugin

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.images.tiff_directory import Directory
from resnet_pipe.reader.images.tiff_layout import CMYK, LOSSLESS, PALETTE, WHITE_IS_ZERO, YCBCR, Layout
from resnet_pipe.reader.images.tiff_samples import Samples, check_it_is_whole, read_samples, strict_libtiff
from resnet_pipe.reader.orientation import ORIENTATION, Frame, upright, xmp_orientation
from resnet_pipe.reader.source import check_size

_TILES = 1 << 26
"""Pixels that the tiles of an image may have together, whatever its size: they may extend far beyond it."""
_OF_PIXELS = frozenset(
    [
        *range(256, 260),  # size, bits, compression
        *(262, 266, 273, 277, 278, 279, 284),  # colours, order of bits, strips
        *(292, 293, 317, 322, 323, 324, 325, 332, 338, 339, 347),  # faxes, tiles, JPEG
        *range(512, 522),  # old-style JPEG
        *(529, 530, 531, 532),  # YCbCr
    ]
)
"""The tags that decoding depends on. Other tags may be damaged."""


def decode(data: bytes, max_pixels: int, accept_truncated: bool) -> Frame:
    """Decode the first image of a TIFF file to uint8, shape (H, W, 3), RGB, contiguous, upright.

    Samples of more than 8 bits keep the upper 8; alpha is dropped.

    Raises:
        SourceError: `unsupported`, `damaged`, `truncated` or `too_large`.
        ValueError: libtiff finds it damaged.
    """
    directory = Directory.first(data)
    layout = Layout.of(directory)
    check_size(layout.width, layout.height, max_pixels)
    check_size(*layout.stored_size, max(max_pixels, _TILES))
    if layout.compression in LOSSLESS and layout.photometric != YCBCR:
        frame = _rgb(directory, layout, read_samples(directory, layout, accept_truncated))
    else:
        check_it_is_whole(directory, layout)
        frame = _with_pillow(directory)
    return upright(frame, _orientation(directory))


def _orientation(directory: Directory) -> int:
    with suppress(SourceError):  # damaged; the pixels are whole
        if orientation := directory.number(ORIENTATION, 0):
            return orientation
    return xmp_orientation(directory.raw(700)) or 1


def _rgb(directory: Directory, layout: Layout, samples: Samples) -> Frame:
    if layout.photometric == PALETTE:
        return np.ascontiguousarray(_palette(directory, layout.bits)[samples[:, :, 0]])
    wanted = samples[:, :, : layout.colours + layout.associated]
    values = _eight_bits(wanted, layout.bits)
    colour = values[:, :, : layout.colours]
    if layout.associated:
        alpha = np.maximum(values[:, :, layout.colours :], 1).astype(np.uint16)
        colour = np.minimum(colour * np.uint16(255) // alpha, 255).astype(np.uint8)
    if layout.photometric == CMYK:
        size = layout.width, layout.height
        return np.asarray(Image.frombytes("CMYK", size, colour.tobytes()).convert("RGB"))
    if layout.photometric == WHITE_IS_ZERO:
        colour = ~colour
    return np.repeat(colour, 3, axis=2) if layout.colours == 1 else np.ascontiguousarray(colour)


def _eight_bits(samples: Samples, bits: int) -> Frame:
    """Scale samples to 0 to 255: above 8 bits, keep the upper 8; below, the maximum becomes 255."""
    if bits == 8:
        return samples.astype(np.uint8, copy=False)
    if bits > 8:
        return (samples >> (bits - 8)).astype(np.uint8)
    highest = (1 << bits) - 1
    return np.round(np.arange(highest + 1) * (255 / highest)).astype(np.uint8)[samples]


def _palette(directory: Directory, bits: int) -> Frame:
    """Return the colours of a palette, shape (2 ** bits, 3)."""
    numbers = np.array(directory.numbers(320), np.int64)
    if numbers.size != 3 << bits:
        raise SourceError("reader", "damaged", f"its palette has {numbers.size} values, not {3 << bits}")
    colours = numbers.reshape(3, -1).T
    # Some programs write 0 to 255 where 0 to 65535 is meant; libtiff knows them by this as well.
    return (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8)


def _with_pillow(directory: Directory) -> Frame:
    file = io.BytesIO(directory.only(_OF_PIXELS))
    before, TiffImagePlugin.READ_LIBTIFF = TiffImagePlugin.READ_LIBTIFF, True  # for uncompressed YCbCr too
    try:
        with strict_libtiff(), Image.open(file, formats=("TIFF",)) as image:
            return np.asarray(image.convert("RGB"))
    finally:
        TiffImagePlugin.READ_LIBTIFF = before
