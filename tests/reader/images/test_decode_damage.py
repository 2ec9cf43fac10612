"""Decoding damaged, lying and hostile files: a stable class of failure, or the true pixels; nothing else."""

from __future__ import annotations

import random
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.images.decode import decode
from tests.image_files import heic
from tests.photographs import encode, photograph, pixels

Frame = NDArray[np.uint8]

CLASSES = {"unknown_format", "truncated", "damaged", "too_large", "unsupported"}
SMALL = photograph().resize((97, 65))
FILES = {
    "jpeg": encode(SMALL, "JPEG"),
    "jpeg progressive": encode(SMALL, "JPEG", progressive=True),
    "jpeg cmyk": encode(SMALL.convert("CMYK"), "JPEG"),
    "png": encode(SMALL, "PNG"),
    "png palette": encode(SMALL.quantize(64), "PNG"),
    "webp": encode(SMALL, "WEBP"),
    "webp lossless": encode(SMALL, "WEBP", lossless=True),
    "webp animated": encode(SMALL, "WEBP", save_all=True, append_images=[SMALL.rotate(180)]),
    "bmp": encode(SMALL, "BMP"),
    "gif": encode(SMALL, "GIF"),
    "gif animated": encode(SMALL, "GIF", save_all=True, append_images=[SMALL.rotate(180)]),
    "avif": encode(SMALL, "AVIF"),
    "heic": heic(SMALL),
    "tiff": encode(SMALL, "TIFF"),
    "tiff lzw": encode(SMALL, "TIFF", compression="tiff_lzw"),
    "tiff deflate": encode(SMALL, "TIFF", compression="tiff_deflate"),
    "tiff packbits": encode(SMALL, "TIFF", compression="packbits"),
    "tiff jpeg": encode(SMALL, "TIFF", compression="jpeg"),
}


def attempt(data: bytes, accept_truncated: bool = False, max_pixels: int = 10**6) -> Frame | str:
    """Return the pixels or the class of failure; any other exception fails the test."""
    try:
        return decode(data, max_pixels, accept_truncated, None).frame
    except SourceError as error:
        failure = error
    assert failure.stage == "reader"
    assert failure.error in CLASSES
    assert failure.message
    assert "\n" not in failure.message
    return failure.error


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_anywhere_fails_or_has_all_its_pixels(name: str) -> None:
    data = FILES[name]
    whole = attempt(data)
    assert not isinstance(whole, str)
    cuts = {*range(1, min(200, len(data))), *range(200, len(data), 97), *range(len(data) - 60, len(data))}
    outcomes = [attempt(data[:cut]) for cut in sorted(cuts)]
    for outcome in outcomes:
        assert isinstance(outcome, str) or np.array_equal(outcome, whole)
    half = attempt(data[: len(data) * 3 // 4])
    assert isinstance(half, str) or name == "gif animated"
    if name != "gif animated":
        assert half == "truncated"


@pytest.mark.parametrize("name", FILES)
def test_flipped_bits_never_raise_anything_but_a_failure(name: str) -> None:
    chance = random.Random(name)
    data = FILES[name]
    for index in range(300):
        damaged = bytearray(data)
        for _ in range(chance.choice((1, 1, 4))):
            place = chance.randrange(min(len(data), 200) if index % 2 else len(data))
            damaged[place] ^= 1 << chance.randrange(8)
        attempt(bytes(damaged), accept_truncated=index % 3 == 0)


@pytest.mark.parametrize("name", FILES)
def test_overwritten_blocks_never_raise_anything_but_a_failure(name: str) -> None:
    chance = random.Random(name)
    data = FILES[name]
    for _ in range(100):
        start = chance.randrange(len(data))
        block = chance.choice((bytes(16), b"\xff" * 16, chance.randbytes(16)))
        attempt(data[:start] + block + data[start + 16 :])
        attempt(data[:start] + data[start + chance.randrange(1, 40) :])


@given(st.binary(max_size=200), st.sampled_from([b"", *sorted({data[:12] for data in FILES.values()})]))
def test_random_bytes_are_a_failure(noise: bytes, start: bytes) -> None:
    assert isinstance(attempt(start + noise), str)


def test_a_page_saved_under_an_image_name_is_of_unknown_format() -> None:
    assert attempt(b"<!DOCTYPE html><title>404 Not Found</title>") == "unknown_format"


@pytest.mark.parametrize("name", ["jpeg", "jpeg progressive", "png", "bmp", "gif", "tiff"])
def test_a_truncated_file_is_accepted_as_far_as_it_goes_where_that_is_asked_for(name: str) -> None:
    data = FILES[name]
    whole, part = attempt(data), attempt(data[: len(data) * 3 // 4], accept_truncated=True)
    assert not isinstance(whole, str)
    assert not isinstance(part, str)
    assert part.shape == whole.shape
    there = slice(-8, None) if name == "bmp" else slice(8)  # a BMP is stored from the bottom up
    assert np.abs(part[there].astype(int) - whole[there]).mean() < 25
    assert not np.array_equal(part, whole)


def test_accepting_truncated_files_does_not_accept_damage() -> None:
    data = FILES["jpeg"]
    middle = len(data) * 2 // 3
    assert attempt(data[:middle] + b"\xff\xd9", accept_truncated=True) == "damaged"


def test_padding_does_not_hide_damage() -> None:
    data = FILES["jpeg"]
    middle = len(data) * 2 // 3
    assert attempt(data[:middle] + bytes(900) + data[-2:]) == "damaged"
    assert attempt(data[:-2] + bytes(range(1, 200)) + data[-2:]) == "damaged"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, rows: bytes, interlaced: int = 0) -> bytes:
    """Return a PNG of 8-bit grey whose header and data need not agree."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, interlaced)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def test_a_png_whose_data_end_before_its_rows_do_is_truncated() -> None:
    assert attempt(png(4, 4, b"\0abcd" * 3)) == "truncated"
    assert attempt(png(4, 4, b"\0abcd" * 3 + b"\0abc")) == "truncated"
    assert attempt(png(3, 3, b"\0a" + b"\0b" + b"\0cd", interlaced=1)) == "truncated"


def test_a_png_that_is_black_at_the_bottom_is_whole() -> None:
    black = attempt(png(4, 4, b"\0\0\0\0\0" * 4))
    assert not isinstance(black, str)
    assert not black.any()
    interlaced = attempt(png(3, 3, b"\0a" + b"\0b" + b"\0cd" + b"\0e\0f" + b"\0ghi", interlaced=1))
    assert not isinstance(interlaced, str)
    assert bytes(interlaced[:, :, 0].tobytes()) == b"aebghicfd"


@pytest.mark.parametrize("size", [(0, 4), (4, 0), (0, 0)])
def test_an_image_without_pixels_is_damaged(size: tuple[int, int]) -> None:
    width, height = size
    assert attempt(png(width, height, b"")) == "damaged"
    gif = b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + b";"
    assert attempt(gif) == "damaged"
    start = FILES["jpeg"].index(b"\xff\xc0") + 5
    assert (
        attempt(FILES["jpeg"][:start] + struct.pack(">HH", height, width) + FILES["jpeg"][start + 4 :])
        == "damaged"
    )


def test_a_bomb_is_too_large_before_anything_is_decoded() -> None:
    start = FILES["jpeg"].index(b"\xff\xc0") + 5
    jpeg = FILES["jpeg"][:start] + b"\xff\xdc\xff\xdc" + FILES["jpeg"][start + 4 :]
    bmp = FILES["bmp"][:18] + struct.pack("<ii", 60000, 60000) + FILES["bmp"][26:]
    for bomb in (jpeg, bmp, png(2**31 - 1, 2**31 - 1, b""), png(1001, 1000, b"")):
        assert attempt(bomb) == "too_large"


def test_the_limit_on_pixels_is_inclusive_and_is_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("jpeg", "png", "tiff"):
        assert attempt(FILES[name], max_pixels=97 * 65 - 1) == "too_large"
        assert not isinstance(attempt(FILES[name], max_pixels=97 * 65), str)
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 10)
    frame = attempt(FILES["png"])
    assert np.array_equal(frame, pixels(SMALL))


def test_a_header_that_promises_more_rows_than_there_are_is_a_failure() -> None:
    start = FILES["jpeg"].index(b"\xff\xc0") + 5
    taller = FILES["jpeg"][:start] + struct.pack(">HH", 650, 97) + FILES["jpeg"][start + 4 :]
    assert attempt(taller) == "damaged"
    bmp = FILES["bmp"][:22] + struct.pack("<i", 650) + FILES["bmp"][26:]
    assert attempt(bmp) == "truncated"
