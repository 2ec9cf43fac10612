"""Image files of every format that is read, and files whose headers lie. Small, and the same every time."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache

import numpy as np
from PIL import Image

from tests.jpegs import jpeg
from tests.photographs import encode, photograph

SIZE = (97, 65)
"""Width and height of the whole files: neither is a multiple of a block's side."""

ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column and row, and the steps, of the seven passes of an interlaced PNG."""


@cache
def whole_files() -> dict[str, bytes]:
    """Return a sound file of every kind, by a name with the format's extension."""
    colour = photograph().resize(SIZE)
    turned = colour.rotate(180)
    grey, palette = colour.convert("L"), colour.quantize(64)
    black_or_white = colour.convert("1")
    alpha = colour.copy()
    alpha.putalpha(grey)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {
        "baseline.jpg": encode(colour, "JPEG", subsampling=2),
        "full-chroma.jpg": encode(colour, "JPEG", subsampling=0, quality=95),
        "restarts.jpg": encode(colour, "JPEG", restart_marker_rows=1),
        "progressive.jpg": encode(colour, "JPEG", progressive=True),
        "turned.jpg": encode(colour, "JPEG", exif=exif),
        "grey.jpg": encode(grey, "JPEG"),
        "cmyk.jpg": encode(colour.convert("CMYK"), "JPEG"),
        "odd-sampling.jpg": jpeg(colour.convert("YCbCr"), [(3, 1), (1, 1), (1, 1)]),
        "odd-bytes.jpg": encode(colour, "JPEG").replace(b"\xff\xdb", b"stray\xff\xdb", 1),
        "colour.png": encode(colour, "PNG"),
        "alpha.png": encode(alpha, "PNG"),
        "palette.png": encode(palette, "PNG"),
        "black-or-white.png": encode(black_or_white, "PNG"),
        "16-bit.png": encode(deep, "PNG"),
        "interlaced.png": interlaced_png(grey),
        "lossy.webp": encode(colour, "WEBP"),
        "lossless.webp": encode(colour, "WEBP", lossless=True),
        "alpha.webp": encode(alpha, "WEBP", exif=exif),
        "animated.webp": encode(colour, "WEBP", save_all=True, append_images=[turned]),
        "colour.bmp": encode(colour, "BMP"),
        "palette.bmp": encode(palette, "BMP"),
        "still.gif": encode(palette, "GIF"),
        "animated.gif": encode(colour, "GIF", save_all=True, append_images=[turned]),
        "colour.avif": encode(colour, "AVIF"),
        "alpha.avif": encode(alpha, "AVIF"),
        "colour.heic": heic(colour),
        "plain.tif": encode(colour, "TIFF"),
        "16-bit.tif": encode(deep, "TIFF"),
        "pages.tif": encode(colour, "TIFF", save_all=True, append_images=[turned]),
        "big.tif": encode(colour, "TIFF", big_tiff=True),
        "fax.tif": encode(black_or_white, "TIFF", compression="group4"),
    }
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "lzma", "zstd"):
        files[f"{compression}.tif"] = encode(colour, "TIFF", compression=compression)
    return files


def heic(image: Image.Image, **options: object) -> bytes:
    """Return a HEIC file without loss."""
    import pillow_heif

    file = io.BytesIO()
    lossless = {"quality": -1, "chroma": 444, "matrix_coefficients": 0}
    pillow_heif.from_pillow(image).save(file, **lossless, **options)
    return file.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """Return a chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int, height: int, rows: bytes, *, depth: int = 8, interlaced: bool = False, extra: bytes = b""
) -> bytes:
    """Return a PNG of shades of grey, whose header and data need not agree; `extra` comes between them."""
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, interlaced)
    data = png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", zlib.compress(rows, 9))
    return b"\x89PNG\r\n\x1a\n" + data + png_chunk(b"IEND", b"")


def interlaced_png(image: Image.Image) -> bytes:
    """Return an interlaced PNG of an image of mode L, which Pillow can read and not write."""
    grey = np.asarray(image)
    passes = (grey[top::down, left::right] for left, top, right, down in ADAM7)
    rows = b"".join(b"\0" + row.tobytes() for part in passes for row in part)
    return png(image.width, image.height, rows, interlaced=True)


Entry = tuple[int, int, int, int]
"""Tag, type, count and value (or offset) of a TIFF directory's entry."""
SHORT, LONG = 3, 4


def tiff(entries: list[Entry], *, following: int = 0, body: bytes = b"") -> bytes:
    """Return a little-endian TIFF: the directory at offset 8, where the next one is, and what comes after."""
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + directory + struct.pack("<I", following) + body


def grey_tiff(
    width: int = 4, height: int = 4, extra: tuple[Entry, ...] = (), *, size: int = 16, following: int = 0
) -> bytes:
    """Return an uncompressed TIFF of shades of grey with one strip, whose header may lie.

    Args:
        width: as its header says.
        height: as its header says.
        extra: entries that take the place of those of the same tag, or are added.
        size: of the strip, bytes, as its header says. There are 16.
        following: offset of the next directory.
    """
    tags = {256: (LONG, 1, width), 257: (LONG, 1, height), 258: (SHORT, 1, 8), 259: (SHORT, 1, 1)}
    tags |= {262: (SHORT, 1, 1), 273: (LONG, 1, 0), 277: (SHORT, 1, 1), 278: (LONG, 1, height)}
    tags |= {279: (LONG, 1, size)}
    tags |= {tag: (kind, count, value) for tag, kind, count, value in extra}
    tags[273] = (LONG, 1, 8 + 2 + 12 * len(tags) + 4)
    return tiff([(tag, *tags[tag]) for tag in sorted(tags)], following=following, body=bytes(range(16)))


def patched(data: bytes, after: bytes, offset: int, new: bytes) -> bytes:
    """Return a file in which the bytes at `offset` from the end of a marker are others."""
    start = data.index(after) + len(after) + offset
    return data[:start] + new + data[start + len(new) :]
