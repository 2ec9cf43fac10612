"""Orientation is found where exiftool and Pillow find it, and what is wrong with it costs no pixels."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from resnet_pipe.reader.images.decode import decode
from tests.photographs import encode, photograph, pixels

PICTURE = photograph().resize((24, 16))
BYTE, SHORT, LONG, SBYTE, UNDEFINED, SSHORT, SLONG, IFD = 1, 3, 4, 6, 7, 8, 9, 13
LETTERS = {BYTE: "B", SHORT: "H", LONG: "I", SBYTE: "b", UNDEFINED: "B", SSHORT: "h", SLONG: "i", IFD: "I"}
HEADER = b"Exif\0\0"


def exif(order: str = "<", type_: int = SHORT, value: int = 6, tag: int = 0x0112) -> bytes:
    """Return an EXIF block with one entry."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    field = struct.pack(order + LETTERS[type_], value).ljust(4, b"\0")
    return mark + struct.pack(order + "IHHHI", 8, 1, tag, type_, 1) + field + bytes(4)


def xmp(value: int, form: str = 'tiff:Orientation="{}"') -> bytes:
    text = f"<x:xmpmeta><rdf:Description {form}/></x:xmpmeta>" if "=" in form else f"<x:xmpmeta>{form}"
    return text.format(value).encode()


def segment(body: bytes, marker: bytes = b"\xff\xe1") -> bytes:
    return marker + struct.pack(">H", len(body) + 2) + body


def jpeg(*segments: bytes) -> bytes:
    data = encode(PICTURE, "JPEG")
    return data[:2] + b"".join(segments) + data[2:]


def turned(data: bytes) -> int:
    """Return 6, 3 or 1: how the file is turned when it is read, told from where its corners are."""
    frame = decode(data, 10**6, False, None).frame.astype(int)
    upright = {1: pixels(PICTURE), 3: np.rot90(pixels(PICTURE), 2), 6: np.rot90(pixels(PICTURE), -1)}
    near = [number for number, image in upright.items() if is_near(frame, image)]
    assert len(near) == 1
    return near[0]


def is_near(frame: NDArray[np.integer], image: NDArray[np.uint8]) -> bool:
    return frame.shape == image.shape and bool(np.abs(frame - image).mean() < 12)


XMP = b"http://ns.adobe.com/xap/1.0/\0"
NOTHING = segment(HEADER + exif(tag=0x0128))
COMMENT = segment(b"a comment", b"\xff\xfe")

JPEGS = {
    **{
        f"type {type_} {order}": (6, jpeg(segment(HEADER + exif(order, type_))))
        for type_ in LETTERS
        for order in "<>"
    },
    "fill bytes": (6, jpeg(b"\xff\xff" + COMMENT + b"\xff\xff\xff" + segment(HEADER + exif()))),
    "after other segments": (6, jpeg(COMMENT, segment(bytes(300), b"\xff\xe2"), segment(HEADER + exif()))),
    "the first of two": (6, jpeg(segment(HEADER + exif()), segment(HEADER + exif(value=3)))),
    "the second has it": (6, jpeg(NOTHING, segment(HEADER + exif()))),
    "lower case": (6, jpeg(segment(b"exif\0\0" + exif()))),
    "another byte": (6, jpeg(segment(b"Exif\0\xff" + exif()))),
    "garbage before": (6, jpeg(segment(b"abcd" + HEADER + exif()))),
    "header twice": (6, jpeg(segment(HEADER + HEADER + exif()))),
    "another number in the block's head": (6, jpeg(segment(HEADER + exif().replace(b"*", b"\0")))),
    "XMP alone": (6, jpeg(segment(XMP + xmp(6)))),
    "XMP element": (6, jpeg(segment(XMP + xmp(6, "<tiff:Orientation>{}</tiff:Orientation>")))),
    "XMP single quotes": (6, jpeg(segment(XMP + xmp(6, "tiff:Orientation='{}'")))),
    "XMP and EXIF without": (6, jpeg(NOTHING, segment(XMP + xmp(6)))),
    "EXIF before XMP": (6, jpeg(segment(XMP + xmp(3)), segment(HEADER + exif()))),
    "XMP of 9": (1, jpeg(segment(XMP + xmp(9)))),
    "0 in EXIF": (1, jpeg(segment(HEADER + exif(value=0)), segment(XMP + xmp(6)))),
    "9": (1, jpeg(segment(HEADER + exif(value=9)))),
    "-6": (1, jpeg(segment(HEADER + exif(type_=SSHORT, value=-6)))),
    "262, whose last byte is 6": (1, jpeg(segment(HEADER + exif(value=262)))),
    "LONG of 65536 + 6": (1, jpeg(segment(HEADER + exif(type_=LONG, value=65542)))),
    "nothing": (1, jpeg(NOTHING)),
    "after the pixels": (1, encode(PICTURE, "JPEG")[:-2] + b"\xff\xd9" + segment(HEADER + exif())),
    "too short for its count": (6, jpeg(segment(HEADER + exif()[:-4]))),
    "cut in the entry": (1, jpeg(segment(HEADER + exif()[:16]))),
    "no order of bytes": (1, jpeg(segment(HEADER + b"XX" + exif()[2:]))),
}


def test_jpegs_are_turned_as_exif_or_else_xmp_says() -> None:
    assert {name: turned(data) for name, (_, data) in JPEGS.items()} == {
        name: number for name, (number, _) in JPEGS.items()
    }


def png_text(digits: str) -> bytes:
    """Return a PNG with EXIF as ImageMagick kept it, in a text chunk."""
    info = PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(digits) // 2:8}\n{digits}\n", zip=True)
    return encode(PICTURE, "PNG", pnginfo=info)


def png_xmp(value: int) -> bytes:
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp(value).decode())
    return encode(PICTURE, "PNG", pnginfo=info)


def avif_with_bad_exif() -> bytes:
    block = exif(">", tag=0x010F)
    data = encode(PICTURE, "AVIF", exif=HEADER + block)
    return data.replace(block[:4], b"????")


OTHERS: dict[str, tuple[int, Callable[[], bytes]]] = {
    "PNG": (6, lambda: encode(PICTURE, "PNG", exif=exif(">", LONG))),
    "PNG text": (6, lambda: png_text((HEADER + exif()).hex())),
    "PNG XMP": (6, lambda: png_xmp(6)),
    "PNG text, no hexadecimal": (1, lambda: png_text("no hexadecimal")),
    "WebP": (6, lambda: encode(PICTURE, "WEBP", exif=HEADER + exif(">", BYTE), lossless=True)),
    "WebP XMP": (6, lambda: encode(PICTURE, "WEBP", xmp=xmp(6), lossless=True)),
    "WebP broken": (1, lambda: encode(PICTURE, "WEBP", exif=b"II*\0\xff\xff\xff\xff", lossless=True)),
    "AVIF": (6, lambda: encode(PICTURE, "AVIF", exif=exif(">"), speed=10, quality=95)),
    "AVIF broken": (1, avif_with_bad_exif),
    "AVIF XMP": (1, lambda: encode(PICTURE, "AVIF", xmp=xmp(6), speed=10, quality=95)),
    "AVIF EXIF and XMP": (
        6,
        lambda: encode(PICTURE, "AVIF", exif=exif(">"), xmp=xmp(3), speed=10, quality=95),
    ),
    "TIFF": (6, lambda: encode(PICTURE, "TIFF", exif=Image.Exif(), tiffinfo={0x0112: 6})),
    "TIFF XMP": (6, lambda: encode(PICTURE, "TIFF", tiffinfo={700: xmp(6)})),
    "TIFF JPEG": (6, lambda: encode(PICTURE, "TIFF", compression="jpeg", tiffinfo={0x0112: 6})),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_formats_are_turned_once(name: str) -> None:
    number, make = OTHERS[name]
    assert turned(make()) == number


def heic(orientation: int) -> bytes:
    """Return a HEIC that says how it is turned in EXIF and, as the standard wants it, in a property."""
    file = io.BytesIO()
    image = pillow_heif.from_pillow(PICTURE)
    image.info["exif"] = HEADER + exif(value=orientation)
    image.save(file, quality=-1, chroma=444, matrix_coefficients=0)
    return file.getvalue()


def test_a_heic_is_turned_as_its_property_says_and_not_once_more() -> None:
    for orientation in range(1, 9):
        png = encode(PICTURE, "PNG", exif=exif(value=orientation))
        with Image.open(io.BytesIO(png)) as image:
            upright = pixels(ImageOps.exif_transpose(image))
        assert np.array_equal(decode(heic(orientation), 10**6, False, None).frame, upright)
    without = heic(6).replace(b"irot", b"free")
    assert np.array_equal(decode(without, 10**6, False, None).frame, pixels(PICTURE))


def test_exif_that_lies_beyond_the_end_costs_no_heic() -> None:
    data = heic(6)
    size = struct.pack(">I", 4 + len(HEADER + exif()))
    place = data.index(size, data.index(b"iloc"))
    assert turned(data[:place] + b"\x7f" + data[place + 1 :]) == 6
