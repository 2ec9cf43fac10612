"""Metadata of any size and brokenness cost neither the pixels nor the orientation that can be told."""

from __future__ import annotations

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.images.decode import decode
from resnet_pipe.reader.images.metadata import without_metadata
from tests.image_files import png_chunk
from tests.photographs import encode, photograph, pixels

SMALL = photograph().resize((97, 65))
PALETTE = SMALL.quantize(64)
PNG = encode(SMALL, "PNG")
AFTER_HEADER, BEFORE_END = 33, len(PNG) - 12
BOMB = zlib.compress(bytes(1 << 23), 9)
SIXTH = b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"
"""EXIF that says that the image is to be turned."""


def read(data: bytes) -> NDArray[np.uint8]:
    return decode(data, 10**6, False, None).frame


def with_bad_checksum(chunk: bytes) -> bytes:
    return chunk[:-1] + bytes([chunk[-1] ^ 1])


ANCILLARY = (
    *("bKGD", "caBX", "cHRM", "cICP", "eXIf", "gAMA", "hIST", "iCCP", "iTXt", "mDCV", "pHYs", "sBIT", "sPLT"),
    *("sRGB", "tEXt", "tIME", "tRNS", "vpAg", "zTXt", "acTL", "fcTL", "fdAT"),
)
CHUNKS = {
    "zTXt bomb": png_chunk(b"zTXt", b"key\0\0" + BOMB),
    "iTXt bomb": png_chunk(b"iTXt", b"key\0\1\0\0\0" + BOMB),
    "XMP bomb": png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BOMB),
    "EXIF text bomb": png_chunk(b"zTXt", b"Raw profile type exif\0\0" + BOMB),
    "iCCP bomb": png_chunk(b"iCCP", b"key\0\0" + BOMB),
    "long text": png_chunk(b"tEXt", b"key\0" + bytes(70 << 20)),
    "many texts": png_chunk(b"tEXt", b"key\0" + bytes(900_000)) * 90,
    "many XMP texts": png_chunk(b"tEXt", b"XML:com.adobe.xmp\0" + bytes(900_000)) * 90,
    "unknown compression": png_chunk(b"zTXt", b"key\0\7" + zlib.compress(b"text")),
    "XMP of unknown compression": png_chunk(b"zTXt", b"XML:com.adobe.xmp\0\7" + zlib.compress(b"text")),
    "XMP that is cut off": png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0"),
    "XMP that is no text": png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0\xff\xfe"),
    **{
        f"{kind} of {size} bytes": png_chunk(kind.encode(), b"x" * size)
        for kind in ANCILLARY
        for size in (0, 1, 300)
    },
    **{
        f"{kind} of a bad checksum": with_bad_checksum(png_chunk(kind.encode(), bytes(9)))
        for kind in ANCILLARY
    },
}


@pytest.mark.parametrize("place", [AFTER_HEADER, BEFORE_END])
def test_no_ancillary_chunk_costs_the_pixels_of_a_png(place: int) -> None:
    for name, chunk in CHUNKS.items():
        assert np.array_equal(read(PNG[:place] + chunk + PNG[place:]), pixels(SMALL)), name


def test_a_png_that_is_cut_off_in_metadata_has_its_pixels_or_is_truncated() -> None:
    half = struct.pack(">I", 5000) + b"tEXtkey\0" + bytes(100)
    assert np.array_equal(read(PNG[:BEFORE_END] + half), pixels(SMALL))
    with pytest.raises(SourceError) as caught:
        read(PNG[:AFTER_HEADER] + half)
    assert caught.value.error == "truncated"


def test_a_critical_chunk_of_a_png_is_no_metadata() -> None:
    data = encode(PALETTE, "PNG")
    start = data.index(b"PLTE") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    for damaged in (
        data[:start] + with_bad_checksum(data[start:end]) + data[end:],
        PNG[:33] + bytes(12) + PNG[33:],
    ):
        with pytest.raises(SourceError) as caught:
            read(damaged)
        assert caught.value.error == "damaged"


PROFILE = "\nexif\n" + f"{len(SIXTH) + 6:8}\n" + (b"Exif\0\0" + SIXTH).hex() + "\n"
ORIENTED = {
    "eXIf": png_chunk(b"eXIf", SIXTH),
    "text of ImageMagick": png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(PROFILE.encode())),
    "XMP": png_chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>'),
}


@pytest.mark.cv2
@pytest.mark.parametrize("place", [AFTER_HEADER, BEFORE_END])
@pytest.mark.parametrize("name", ORIENTED)
def test_what_tells_the_orientation_of_a_png_is_read_beside_broken_metadata(name: str, place: int) -> None:
    data = PNG[:place] + CHUNKS["zTXt bomb"] + ORIENTED[name] + CHUNKS["gAMA of 0 bytes"] + PNG[place:]
    assert np.array_equal(read(data), pixels(SMALL.transpose(Image.Transpose.ROTATE_270)))


def gif_blocks(label: int, *blocks: bytes) -> bytes:
    return bytes([0x21, label]) + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


@pytest.mark.parametrize(
    "blocks",
    [
        gif_blocks(0xFE, *[bytes(255)] * 9000),
        gif_blocks(0xFE),
        gif_blocks(0xFF, b"NETSCAPE2.0"),
        gif_blocks(0xFF, b"NETSCAPE2.0", b"\1\0"),
        gif_blocks(0xFF, b"XMP DataXMP", b"<x/>"),
        gif_blocks(0xFF),
        gif_blocks(0x01, bytes(12), b"text"),
        gif_blocks(0x42, b"unknown"),
    ],
)
def test_no_comment_or_block_of_a_program_costs_the_pixels_of_a_gif(blocks: bytes) -> None:
    data = encode(PALETTE, "GIF")
    start = 13 + (3 << (data[10] & 7) + 1)
    assert np.array_equal(read(data[:start] + blocks + blocks + data[start:]), pixels(PALETTE))
    assert np.array_equal(read(data[:-1] + blocks + data[-1:]), pixels(PALETTE))


@pytest.mark.parametrize("chunk", [b"EXIF", b"XMP ", b"ICCP"])
def test_no_chunk_of_metadata_costs_the_pixels_of_a_webp(chunk: bytes) -> None:
    data = encode(
        SMALL, "WEBP", lossless=True, exif=b"Exif\0\0" + bytes(8), xmp=b"<x/>", icc_profile=bytes(200)
    )
    start = data.index(chunk)
    size = int.from_bytes(data[start + 4 : start + 8], "little")
    assert np.array_equal(read(data[: start + 8] + b"\xff" * size + data[start + 8 + size :]), pixels(SMALL))
    longer = data + chunk + struct.pack("<I", 1 << 20) + bytes(100)
    assert np.array_equal(read(longer[:4] + struct.pack("<I", len(longer) - 8) + longer[8:]), pixels(SMALL))


@pytest.mark.parametrize("before", [len(PNG), BEFORE_END], ids=["behind the end", "in the place of the end"])
def test_zeros_cost_no_more_memory_than_they_take_in_the_file(before: int) -> None:
    """A file that was made too large before it was written, or whose last pages a power cut has lost."""
    data = PNG[:before] + bytes(8 << 20)
    tracemalloc.start()
    try:
        without_metadata("PNG", data)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 3 * len(data)
