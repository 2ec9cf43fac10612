"""Each format is told by its first bytes: it is decoded, or refused by its name, and `damaged` is neither."""

from __future__ import annotations

import io
import struct
import sys

import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.images.decode import decode
from tests.image_files import heic
from tests.photographs import encode, photograph, pixels

PICTURE = photograph().resize((97, 65))


def read(data: bytes, max_pixels: int = 10**6) -> NDArray[np.uint8]:
    return decode(data, max_pixels, False, None).frame


def refusal(data: bytes, max_pixels: int = 10**6) -> tuple[str, str]:
    with pytest.raises(SourceError) as caught:
        read(data, max_pixels)
    return caught.value.error, caught.value.message


OTHERS = {
    "JPEG XL": [b"\xff\x0a\xfa\x1f\x41\x91", b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl "],
    "JPEG 2000": [b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 ", b"\xff\x4f\xff\x51\0\x2f\0\0"],
    "JPEG XR": [b"II\xbc\x01\x20\0\0\0"],
    "PNG with Apple's changes (CgBI)": [b"\x89PNG\r\n\x1a\n\0\0\0\4CgBI\x50\0\x20\2"],
    "Photoshop (PSD)": [b"8BPS\0\x01\0\0", b"8BPS\0\x02\0\0"],
    "SVG": [
        b'<svg xmlns="http://www.w3.org/2000/svg">',
        b'<?xml version="1.0"?>\n<!-- a comment -->\n<!DOCTYPE svg>\n<svg width="1">',
        b"\xef\xbb\xbf \n<svg>",
    ],
    "PDF": [b"%PDF-1.7\n"],
    "PostScript": [b"%!PS-Adobe-3.0"],
    "OpenEXR": [b"\x76\x2f\x31\x01\x02\0\0\0"],
    "Radiance HDR": [b"#?RADIANCE\n", b"#?RGBE\n"],
    "PNM": [b"P6\n4 4\n255\n", b"P1 # comment\n", b"P7\nWIDTH 4\n"],
    "PFM": [b"PF\n4 4\n-1.0\n"],
    "icon (ICO)": [b"\0\0\x01\0\x01\0\x20\x20\0\0\x01\0\x20\0"],
    "DDS": [b"DDS \x7c\0\0\0"],
    "QOI": [b"qoif\0\0\0\x04"],
    "DICOM": [bytes(128) + b"DICM"],
    "FITS": [b"SIMPLE  =                    T"],
    "Canon CR3": [b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom"],
    "Fujifilm RAF": [b"FUJIFILMCCD-RAW 0201"],
    "Olympus ORF": [b"IIRO\x08\0\0\0"],
    "Panasonic RW2": [b"IIU\0\x18\0\0\0"],
}


def test_formats_that_are_not_decoded_are_named() -> None:
    for name, starts in OTHERS.items():
        for start in starts:
            error, message = refusal(start + bytes(300))
            assert error == "unsupported", message
            assert name in message


@pytest.mark.parametrize(
    "data",
    [
        b"<!DOCTYPE html><title>404 Not Found</title>",
        b"<?xml version='1.0'?><html><body><p>no svg</p>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41" + bytes(100),
        b"Process finished",
    ],
)
def test_what_is_no_image_is_of_unknown_format(data: bytes) -> None:
    assert refusal(data)[0] == "unknown_format"


def test_heic_has_the_pixels_that_were_written() -> None:
    alpha = PICTURE.copy()
    alpha.putalpha(PICTURE.convert("L"))
    grey = PICTURE.convert("L")
    for image in (PICTURE, alpha, grey, Image.merge("LA", (grey, grey))):
        assert np.array_equal(read(heic(image)), pixels(image)), image.mode
    for more in (b"\n", bytes(6), b"trailer" * 50):
        assert np.array_equal(read(heic(PICTURE) + more), pixels(PICTURE))
    assert np.array_equal(read(heic(PICTURE).replace(b"ftypheix", b"ftypmif1")), pixels(PICTURE))


@pytest.mark.parametrize("bits", [10, 12])
def test_heic_of_more_bits_keeps_the_upper_8(bits: int) -> None:
    deep = pixels(PICTURE).astype(np.uint16) << 8
    file = io.BytesIO()
    image = pillow_heif.from_bytes("RGB;16", PICTURE.size, deep.tobytes())
    image.save(file, quality=-1, chroma=444, matrix_coefficients=0, bit_depth=bits)
    assert pillow_heif.open_heif(file, convert_hdr_to_8bit=False).info["bit_depth"] == bits
    assert np.array_equal(read(file.getvalue()), pixels(PICTURE))


def test_of_several_images_in_a_heic_the_primary_one_counts() -> None:
    file = io.BytesIO()
    images = pillow_heif.from_pillow(PICTURE.rotate(180))
    images.add_from_pillow(PICTURE)
    images.save(file, quality=-1, chroma=444, matrix_coefficients=0, primary_index=1)
    assert np.array_equal(read(file.getvalue()), pixels(PICTURE))


def test_a_heic_without_pillow_heif_is_unsupported_and_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = heic(PICTURE)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert refusal(data) == ("unsupported", "HEIC image; to read it: pip install 'resnet-pipe[heif]'")


def test_a_heic_cut_off_is_truncated_and_one_too_large_is_not_decoded() -> None:
    data = heic(PICTURE)
    for cut in (20, 30, 100, 500, len(data) // 2, len(data) - 1):
        assert refusal(data[:cut])[0] == "truncated", cut
    assert refusal(data, 97 * 65 - 1)[0] == "too_large"
    place = data.index(b"ispe") + 8
    assert refusal(data[:place] + struct.pack(">II", 60000, 60000) + data[place + 8 :])[0] == "too_large"
    assert refusal(data[:place] + struct.pack(">II", 16, 16) + data[place + 8 :])[0] == "damaged"


def test_an_avif_cut_off_is_truncated() -> None:
    data = encode(PICTURE, "AVIF")
    for cut in (20, 30, 34, 100, len(data) // 2, len(data) - 1):
        assert refusal(data[:cut])[0] == "truncated", cut


Masks = tuple[int, ...]


def bitmap(values: NDArray[np.integer], bits: int, compression: int, masks: Masks, header: int) -> bytes:
    """Return a BMP of one integer a pixel, with masks of colours in or behind its header."""
    height, width = values.shape
    rows = values[::-1].astype(f"<u{bits // 8}")
    data = b"".join(row.tobytes() + bytes(-row.nbytes % 4) for row in rows)
    colours = struct.pack(f"<{len(masks)}I", *masks)
    head = struct.pack("<IiiHHIIiiII", header, width, height, 1, bits, compression, len(data), 0, 0, 0, 0)
    head += colours if header == 40 else colours.ljust(header - 40, b"\0")
    start = 14 + len(head)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + head + data


def field(values: NDArray[np.integer], mask: int) -> NDArray[np.float64]:
    shift = (mask & -mask).bit_length() - 1
    return np.asarray(((values & mask) >> shift) * (255 / (mask >> shift)), np.float64)


BITMAPS: dict[str, tuple[int, Masks, bool]] = {
    "565": (16, (0xF800, 0x7E0, 0x1F), True),
    "555": (16, (0x7C00, 0x3E0, 0x1F), True),
    "1555": (16, (0x7C00, 0x3E0, 0x1F, 0x8000), True),
    "4444": (16, (0xF00, 0xF0, 0xF, 0xF000), False),
    "565, blue first": (16, (0x1F, 0x7E0, 0xF800), False),
    "8888": (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000), True),
    "8888, alpha last": (32, (0xFF000000, 0xFF0000, 0xFF00, 0xFF), True),
    "10 bits each": (32, (0x3FF00000, 0xFFC00, 0x3FF), False),
}


@pytest.mark.parametrize("header", [40, 56, 124])
@pytest.mark.parametrize("name", BITMAPS)
def test_bitmaps_with_masks_are_read_right_or_refused(name: str, header: int) -> None:
    bits, masks, known = BITMAPS[name]
    values = np.random.default_rng(0).integers(0, 1 << bits, (13, 21))
    data = bitmap(values, bits, 3, masks, header)
    if known:
        wanted = np.dstack([field(values, mask) for mask in masks[:3]])
        assert np.abs(read(data) - wanted).max() <= 1
    else:
        assert refusal(data)[0] == "unsupported"


def test_a_bitmap_that_holds_another_format_is_unsupported() -> None:
    for compression in (4, 5):  # JPEG, PNG
        assert refusal(bitmap(np.zeros((4, 4), int), 32, compression, (), 40))[0] == "unsupported"
