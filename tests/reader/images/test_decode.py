"""Decoding whole files: every format and mode gives the pixels that Pillow gives, or better ones."""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.images.decode import decode
from tests.photographs import NAMES, encode, photograph, pixels

Frame = NDArray[np.uint8]


def read(data: bytes, min_side: int | None = None, max_pixels: int = 10**8) -> Frame:
    frame = decode(data, max_pixels, False, min_side).frame
    assert frame.dtype == np.uint8
    assert frame.shape[2:] == (3,)
    assert frame.flags.c_contiguous
    return frame


def pillow(data: bytes) -> Frame:
    with warnings.catch_warnings(), Image.open(io.BytesIO(data)) as image:
        warnings.simplefilter("ignore")
        return pixels(ImageOps.exif_transpose(image))


def small() -> Image.Image:
    return photograph().resize((121, 83))


def test_a_jpeg_has_the_pixels_that_pillow_gives_it() -> None:
    for name in NAMES:
        for options in (
            {},
            {"progressive": True},
            {"subsampling": 0},
            {"subsampling": 1},
            {"restart_marker_rows": 1},
        ):
            data = encode(photograph(name), "JPEG", quality=85, **options)
            assert np.array_equal(read(data), pillow(data)), (name, options)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (7, 9), (17, 16)])
def test_a_jpeg_of_any_size_has_the_pixels_that_pillow_gives_it(size: tuple[int, int]) -> None:
    data = encode(photograph().resize(size), "JPEG")
    assert np.array_equal(read(data), pillow(data))


def test_a_grey_jpeg_has_three_equal_channels() -> None:
    data = encode(photograph().convert("L"), "JPEG")
    assert np.array_equal(read(data), pillow(data))


def test_jpegs_of_cmyk_and_rgb_have_the_pixels_that_pillow_gives_them() -> None:
    for data in (
        encode(photograph().convert("CMYK"), "JPEG"),
        encode(photograph(), "JPEG", keep_rgb=True),
    ):
        assert np.array_equal(read(data), pillow(data))


MODES = {
    "1": photograph().convert("1"),
    "L": photograph().convert("L"),
    "LA": photograph().convert("LA"),
    "P": photograph().quantize(200),
    "RGB": photograph(),
    "RGBA": photograph().convert("RGBA"),
}
MODES["LA"].putalpha(photograph().convert("L"))
MODES["RGBA"].putalpha(photograph().convert("L"))

CASES = [
    *(("PNG", mode, {}) for mode in MODES),
    ("PNG", "P", {"transparency": 3}),
    ("PNG", "P", {"transparency": bytes(range(200))}),
    ("PNG", "L", {"transparency": 3}),
    ("PNG", "RGB", {"transparency": (1, 2, 3)}),
    *(("GIF", mode, {}) for mode in ("1", "L", "P", "RGB", "RGBA")),
    ("GIF", "P", {"transparency": 3, "interlace": 1}),
    *(("BMP", mode, {}) for mode in ("1", "L", "P", "RGB", "RGBA")),
    *(("DIB", mode, {}) for mode in ("L", "RGB")),
    *(
        ("TIFF", mode, {"compression": c})
        for mode in MODES
        for c in (None, "tiff_lzw", "tiff_deflate", "packbits")
    ),
    ("TIFF", "RGB", {"compression": "jpeg"}),
    ("TIFF", "1", {"compression": "group4"}),
    *(("WEBP", mode, {"lossless": lossless}) for mode in ("RGB", "RGBA") for lossless in (False, True)),
    *(("AVIF", mode, {"speed": 10}) for mode in ("RGB", "RGBA")),
]


@pytest.mark.parametrize(("format_", "mode", "options"), CASES)
def test_every_format_and_mode_has_the_pixels_that_pillow_gives_it(
    format_: str, mode: str, options: dict[str, object]
) -> None:
    data = encode(MODES[mode], format_, **options)
    frame = read(data)
    assert frame.shape == (300, 451, 3)
    assert np.array_equal(frame, pillow(data))


def test_tiffs_of_cmyk_and_ycbcr_become_rgb() -> None:
    for mode in ("CMYK", "YCbCr"):
        image = photograph().convert(mode)
        difference = np.abs(read(encode(image, "TIFF")).astype(int) - pixels(image))
        assert difference.max() <= 1  # libtiff rounds where Pillow cuts off


def test_alpha_is_dropped_and_what_lies_under_it_is_kept() -> None:
    clear = photograph().convert("RGBA")
    clear.putalpha(0)
    assert np.array_equal(read(encode(clear, "PNG")), pixels(photograph()))


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "TIFF", "PNG", "AVIF"])
def test_of_many_frames_the_first_one_counts(format_: str) -> None:
    first, second = small(), small().rotate(180)
    frame = read(encode(first, format_, save_all=True, append_images=[second]))
    assert np.abs(frame.astype(int) - pixels(first)).mean() < 6
    assert np.abs(frame.astype(int) - pixels(second)).mean() > 25


def test_of_a_multi_picture_jpeg_the_first_picture_counts() -> None:
    many = encode(small(), "MPO", save_all=True, append_images=[small().rotate(180)])
    assert np.array_equal(read(many), pillow(many))


def test_grey_of_16_bits_keeps_its_upper_8() -> None:
    deep = np.arange(64 * 65, dtype=np.uint16).reshape(64, 65) * 15
    for format_ in ("PNG", "TIFF"):
        assert np.array_equal(read(encode(Image.fromarray(deep), format_)), np.dstack([deep >> 8] * 3))


def test_grey_of_16_bits_whose_zero_is_white_is_turned_over() -> None:
    data = encode(Image.fromarray(np.full((3, 4), 0x1234, np.uint16)), "TIFF")
    black_is_zero, white_is_zero = (struct.pack("<HHIHH", 262, 3, 1, value, 0) for value in (1, 0))
    assert black_is_zero in data
    assert np.all(read(data.replace(black_is_zero, white_is_zero)) == 255 - 0x12)


@pytest.mark.cv2
def test_color_of_16_bits_keeps_its_upper_8() -> None:
    import cv2

    deep = np.random.default_rng(0).integers(0, 65536, (30, 40, 3), dtype=np.uint16)
    deep_alpha = np.dstack([deep, np.full((30, 40), 65535, np.uint16)])
    for extension in (".png", ".tiff"):
        for image in (deep, deep_alpha) if extension == ".png" else (deep,):
            _, data = cv2.imencode(extension, image)
            assert np.array_equal(read(data.tobytes()), (deep >> 8)[:, :, ::-1])


ORIENTED = [
    ("JPEG", {"subsampling": 0}),
    ("PNG", {}),
    ("WEBP", {"lossless": True}),
    ("TIFF", {}),
    ("AVIF", {"speed": 10}),
]


@pytest.mark.cv2
@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize(("format_", "options"), ORIENTED)
def test_every_exif_orientation_is_undone(format_: str, options: dict[str, object], orientation: int) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera's maker"
    exif[0x0112] = orientation
    data = encode(small(), format_, exif=exif, **options)
    if 1 < orientation < 9:
        assert not np.array_equal(read(data), pixels(small()))
    assert np.array_equal(read(data), pillow(data))


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("size", [(451, 300), (448, 304)])
def test_a_jpeg_that_comes_smaller_says_how_large_it_is_displayed(
    size: tuple[int, int], orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(photograph().resize(size), "JPEG", exif=exif)
    item = decode(data, 10**8, False, 60)
    assert (min(item.frame.shape[:2]) < 300) or size == (451, 300), "whose edge may have to be whole"
    assert item.displayed == pillow(data).shape[1::-1]


def jpeg_with(segment: bytes) -> bytes:
    data = encode(small(), "JPEG")
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]


@pytest.mark.cv2
@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_is_read_in_both_byte_orders(order: str) -> None:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    tiff = mark + struct.pack(order + "IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    assert np.array_equal(
        read(jpeg_with(b"Exif\0\0" + tiff)), pixels(small_jpeg().transpose(Image.Transpose.ROTATE_270))
    )


def small_jpeg() -> Image.Image:
    return Image.fromarray(pillow(encode(small(), "JPEG")))


@pytest.mark.parametrize(
    "exif",
    [b"", b"II", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff", b"MM\0*\0\0\0\x08\0\x01", b"?" * 40],
)
def test_damaged_exif_costs_the_orientation_not_the_image(exif: bytes) -> None:
    assert np.array_equal(read(jpeg_with(b"Exif\0\0" + exif)), pixels(small_jpeg()))
    png = encode(small(), "PNG", exif=b"Exif\0\0" + exif)
    assert np.array_equal(read(png), pixels(small()))


@pytest.mark.parametrize("min_side", [1, 50, 75, 76, 149, 150, 151, 300, 5000])
def test_a_jpeg_may_come_smaller_but_never_below_the_asked_side(min_side: int) -> None:
    frame = read(encode(photograph(), "JPEG"), min_side)
    factor = 300 / frame.shape[0]
    assert factor in (1, 2, 4, 300 / 38)
    assert frame.shape[0] >= min(min_side, 300)
    assert factor > 4 or frame.shape[0] / 2 < min_side, "it could have been half as large"


def test_padding_before_the_end_of_a_jpeg_is_harmless() -> None:
    data = encode(photograph(), "JPEG")
    padded = data[:-2] + bytes(5000) + data[-2:]
    with pytest.raises(ValueError, match="extraneous bytes before marker 0xd9"):
        simplejpeg.decode_jpeg(padded)
    assert np.array_equal(read(padded), pillow(data))


def test_bytes_after_the_end_of_an_image_are_harmless() -> None:
    for format_ in ("JPEG", "PNG", "GIF", "BMP", "WEBP"):
        data = encode(small(), format_)
        assert np.array_equal(read(data + b"trailer" * 100), pillow(data))


def test_the_settings_of_pillow_are_left_as_they_were() -> None:
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, warnings.filters[:]
    read(encode(small(), "PNG"))
    with pytest.raises(SourceError):
        read(encode(small(), "PNG")[:900])
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, warnings.filters[:]) == before
