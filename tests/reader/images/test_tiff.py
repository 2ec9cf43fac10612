"""TIFF files of every kind have the pixels that were written, or are refused by the name of what they are."""

from __future__ import annotations

import io
import itertools
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.images.decode import decode
from tests.photographs import encode, photograph, pixels
from tests.tiffs import (
    BLACK_IS_ZERO,
    BYTE,
    CMYK,
    DEFLATE,
    LONG,
    LZMA,
    LZW,
    NONE,
    PACKBITS,
    PALETTE,
    RGB,
    SHORT,
    WHITE_IS_ZERO,
    YCBCR,
    Tags,
    Tiff,
)

Numbers = NDArray[np.integer[Any]]


def read(data: bytes, accept_truncated: bool = False) -> NDArray[np.uint8]:
    frame = decode(data, 10**6, accept_truncated, None).frame
    assert frame.dtype == np.uint8
    assert frame.shape[2:] == (3,)
    assert frame.flags.c_contiguous
    return frame


def refusal(data: bytes) -> tuple[str, str]:
    with pytest.raises(SourceError) as caught:
        read(data)
    return caught.value.error, caught.value.message


def rgb(samples: Numbers, bits: int, photometric: int) -> Numbers:
    """Return what samples mean, computed from the definitions of TIFF 6.0, in 8 bits."""
    whole = samples.astype(np.int64)
    values = whole >> (bits - 8) if bits > 8 else np.round(whole * (255 / ((1 << bits) - 1))).astype(np.int64)
    if photometric == WHITE_IS_ZERO:
        return np.repeat(255 - values[:, :, :1], 3, axis=2)
    if photometric == BLACK_IS_ZERO:
        return np.repeat(values[:, :, :1], 3, axis=2)
    if photometric == CMYK:
        return np.round((255 - values[:, :, :3]) * (255 - values[:, :, 3:4]) / 255).astype(np.int64)
    return values[:, :, :3]


COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, CMYK: 4}
CHUNKS = ((None, 5), (None, 40), (16, 16))


def kinds() -> Iterator[tuple[Tiff, int]]:
    """Yield every combination that can be written, and how many samples a pixel has."""
    for (
        bits,
        photometric,
        extra,
        order,
        big,
        planar,
        chunk,
        compression,
        predictor,
        turned,
    ) in itertools.product(
        (1, 2, 3, 4, 6, 8, 9, 10, 12, 14, 15, 16),
        COLOURS,
        (0, 1),
        "<>",
        (False, True),
        (False, True),
        CHUNKS,
        (NONE, LZW, DEFLATE, PACKBITS, LZMA),
        (1, 2),
        (False, True),
    ):
        if predictor == 2 and (bits not in (8, 16) or compression in (NONE, PACKBITS)):
            continue
        tags: Tags = {338: (SHORT, (0,))} if extra else {}
        kind = Tiff(bits, photometric, order, big, planar, chunk, compression, predictor, turned, tags)
        yield kind, COLOURS[photometric] + extra


@pytest.mark.parametrize(
    "step", [pytest.param(97, id="some"), pytest.param(1, id="all", marks=pytest.mark.slow)]
)
def test_every_kind_of_integers_has_the_pixels_that_were_written(step: int) -> None:
    chance = np.random.default_rng(0)
    for kind, count in itertools.islice(kinds(), 0, None, step):
        samples = chance.integers(0, 1 << kind.bits, (19, 37, count))
        wanted = rgb(samples, kind.bits, kind.photometric)
        assert np.abs(read(kind.encode(samples)) - wanted).max() <= (kind.photometric == CMYK), kind


def written() -> Iterator[tuple[NDArray[Any], dict[str, Any]]]:
    """Yield what tifffile can write without other libraries: an array, and the options to write it with."""
    chance = np.random.default_rng(1)
    types = ("?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "f2", "f4", "f8")
    layouts: tuple[dict[str, Any], ...] = ({}, {"rowsperstrip": 7}, {"tile": (16, 16)})
    for name, (
        photometric,
        count,
    ), extra, planar, layout, compression, predictor, order, big in itertools.product(
        types,
        (("minisblack", 1), ("miniswhite", 1), ("rgb", 3), ("separated", 4), ("cielab", 3), ("ycbcr", 3)),
        (None, "unspecified", "unassalpha"),
        ("contig", "separate"),
        layouts,
        (None, "zlib", "lzma"),
        (False, True),
        "<>",
        (False, True),
    ):
        samples = count + (extra is not None)
        if (predictor and (compression is None or name not in ("u1", "u2", "u4"))) or (
            planar == "separate" and samples == 1
        ):
            continue
        if name == "?" and samples > 1:
            continue
        shape = (19, 37, samples) if planar == "contig" else (samples, 19, 37)
        array = chance.integers(0, 2 if name == "?" else 127, shape).astype(name)
        if name in ("u1", "u2"):
            array = chance.integers(0, np.iinfo(name).max + 1, shape).astype(name)
        options = {"photometric": photometric, "planarconfig": planar, "byteorder": order, "bigtiff": big}
        options |= {"compression": compression, "predictor": predictor, **layout}
        if extra:
            options["extrasamples"] = [extra]
        yield (array[:, :, 0] if samples == 1 else array), options


MEANINGS = {"minisblack": BLACK_IS_ZERO, "miniswhite": WHITE_IS_ZERO, "rgb": RGB, "separated": CMYK}


@pytest.mark.parametrize(
    "step", [pytest.param(41, id="some"), pytest.param(1, id="all", marks=pytest.mark.slow)]
)
def test_what_tifffile_writes_is_read_as_tifffile_reads_it_or_refused(step: int) -> None:
    outcomes = {"read": 0, "refused": 0}
    for array, options in itertools.islice(written(), 0, None, step):
        file = io.BytesIO()
        tifffile.imwrite(file, array, **options)
        theirs = tifffile.imread(io.BytesIO(file.getvalue()))
        readable = array.dtype.str[1:] in ("b1", "u1", "u2") and options["photometric"] in MEANINGS
        if not readable and not (options["photometric"] == "ycbcr" and array.dtype == np.uint8):
            assert refusal(file.getvalue())[0] == "unsupported", (array.dtype, options)
            outcomes["refused"] += 1
            continue
        if options["photometric"] == "ycbcr":
            continue  # tested on its own
        if theirs.ndim == 2:
            theirs = theirs[:, :, np.newaxis]
        elif options["planarconfig"] == "separate":
            theirs = np.moveaxis(theirs, 0, -1)
        bits = 1 if theirs.dtype == bool else 8 * theirs.itemsize
        wanted = rgb(theirs, bits, MEANINGS[options["photometric"]])
        assert np.abs(read(file.getvalue()) - wanted).max() <= 1, (array.dtype, options)
        outcomes["read"] += 1
    assert min(outcomes.values()) > 20


GREY = np.arange(6 * 8).reshape(6, 8, 1)
COLOUR = np.arange(6 * 8 * 3).reshape(6, 8, 3)


def tagged(samples: Numbers, bits: int = 8, photometric: int = BLACK_IS_ZERO, **tags: Any) -> bytes:  # noqa: ANN401
    """Return a TIFF with some tags given as `tag_256=1`."""
    shorts = {int(name[4:]): value if isinstance(value, tuple) else (value,) for name, value in tags.items()}
    return Tiff(bits, photometric, tags={tag: (SHORT, value) for tag, value in shorts.items()}).encode(
        samples
    )


REFUSED = {
    "32-bit floating-point numbers": tagged(GREY, 32, tag_339=3),
    "32-bit integers": tagged(GREY, 32),
    "8-bit signed integers": tagged(GREY, tag_339=2),
    "16-bit signed integers": tagged(COLOUR, 16, RGB, tag_339=(2, 2, 2)),
    "16-bit complex integers": tagged(GREY, 16, tag_339=5),
    "samples of different sizes: 5, 6 bits": tagged(COLOUR, 5, RGB, tag_258=(5, 6, 5)),
    "CIE L*a*b*": tagged(COLOUR, 8, 8),
    "ICC L*a*b*": tagged(COLOUR, 8, 9),
    "LogLuv": tagged(COLOUR, 16, 32845),
    "raw data of a camera's sensor": tagged(GREY, 16, 32803),
    "transparency mask": tagged(GREY % 2, 1, 4),
    "inks other than cyan": tagged(np.zeros((6, 8, 4), int), 8, CMYK, tag_332=2),
    "12 samples per pixel": tagged(np.zeros((6, 8, 12), int), 8, RGB),
    "premultiplied alpha": tagged(np.zeros((6, 8, 5), int), 8, CMYK, tag_338=1),
    "old-style JPEG": tagged(COLOUR, 8, RGB, tag_259=6),
    "JPEG 2000": tagged(COLOUR, 8, RGB, tag_259=34712),
    "WebP": tagged(COLOUR, 8, RGB, tag_259=50001),
    "LERC": tagged(GREY, 8, tag_259=34887),
    "compression 4711": tagged(GREY, 8, tag_259=4711),
    "predictor 3": tagged(GREY, 16, tag_259=LZW, tag_317=3),
    "12-bit samples with predictor 2": tagged(GREY, 12, tag_259=LZW, tag_317=2),
    "predictor 2 and compression 1": tagged(GREY, 8, tag_317=2),
    "grey in one sample per pixel of 12 bits, compressed with JPEG": tagged(GREY, 12, tag_259=7),
    "in separate planes, compressed with JPEG": tagged(COLOUR, 8, RGB, tag_259=7, tag_284=2),
    "with fax compression": tagged(GREY, 8, tag_259=4),
    "YCbCr in 3 samples per pixel of 16 bits": tagged(COLOUR, 16, YCBCR),
    "YCbCr colours with JPEG XL": tagged(COLOUR, 8, YCBCR, tag_259=50002),
    "a camera's raw data": tagged(GREY, 8, tag_50706=1),
    "data, or a thumbnail": b"II*\0\x10\0\0\0CR\x02\0" + bytes(20),
    "a thumbnail as its first image": tagged(COLOUR, 8, RGB, tag_254=1, tag_330=8),
    "parts of the image are not stored": tagged(GREY, 8, tag_259=LZW, tag_273=(0, 0), tag_279=(0, 0)),
}


def test_what_is_not_read_is_refused_by_its_name() -> None:
    for name, data in REFUSED.items():
        error, message = refusal(data)
        assert (error, name in message) == ("unsupported", True), message


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
def test_a_palette_of_any_size_gives_its_colours(bits: int) -> None:
    chance = np.random.default_rng(2)
    samples = chance.integers(0, 1 << bits, (9, 13, 1))
    colours = chance.integers(0, 65536, (3, 1 << bits))
    for scale in (1, 256):  # some programs write 8-bit numbers
        data = Tiff(bits, PALETTE, tags={320: (SHORT, tuple((colours // scale).ravel()))}).encode(samples)
        assert np.array_equal(read(data), (colours >> 8).T[samples[:, :, 0]])
    short = Tiff(bits, PALETTE, tags={320: (SHORT, (1, 2, 3))}).encode(samples)
    assert refusal(short)[0] == "damaged"


def test_alpha_that_colours_were_multiplied_with_is_divided_out() -> None:
    colour = np.full((6, 8, 3), (200, 100, 50))
    alpha = np.arange(48).reshape(6, 8, 1) * 5 + 10
    for bits, scale in ((8, 1), (16, 257)):
        stored = np.dstack([colour * alpha // 255, alpha]) * scale
        data = Tiff(bits, RGB, tags={338: (SHORT, (1,))}).encode(stored)
        error = np.abs(read(data) - colour)
        assert np.all(error <= np.ceil(255 / alpha) + 1)


@pytest.mark.parametrize("across", [1, 2, 4])
@pytest.mark.parametrize("down", [1, 2])
@pytest.mark.parametrize("compression", [NONE, LZW])
def test_colours_stored_as_luma_and_chroma_become_rgb(across: int, down: int, compression: int) -> None:
    """In units of luma samples that share their chroma, TIFF 6.0, section 21."""
    picture = np.asarray(photograph().resize((8, 8)).convert("YCbCr")).astype(int)
    chroma = picture[::down, ::across, 1:]
    luma = picture[:, :, 0].reshape(8 // down, down, 8 // across, across).swapaxes(1, 2)
    units = np.concatenate([luma.reshape(8 // down, 8 // across, -1), chroma], axis=2)
    options = Tiff(8, YCBCR, chunk=(None, 8), compression=compression)
    row = units.reshape(len(units), -1, 1)
    tags = {256: (SHORT, (8,)), 257: (SHORT, (8,)), 277: (SHORT, (3,)), 258: (SHORT, (8, 8, 8))}
    data = replace(options, tags=tags | {530: (SHORT, (across, down))}).encode(row)
    shared = np.dstack([picture[:, :, 0], *np.kron(np.moveaxis(chroma, 2, 0), np.ones((down, across), int))])
    wanted = pixels(Image.frombytes("YCbCr", (8, 8), shared.astype(np.uint8).tobytes()))
    assert np.abs(read(data).astype(int) - wanted).max() <= 2


def test_jpeg_in_a_tiff_is_as_near_as_a_jpeg() -> None:
    picture = photograph().resize((96, 64))
    for mode in ("L", "RGB", "YCbCr", "CMYK"):
        data = encode(picture.convert(mode), "TIFF", compression="jpeg", quality=95)
        wanted = pixels(picture.convert(mode)).astype(int)
        assert np.abs(read(data) - wanted).mean() < 3, mode


PLACE = 1000


def around(kind: Tiff, size: tuple[int, int], data: bytes, skip: int = 0) -> bytes:
    """Return a TIFF of one strip that is made already; it lies at `PLACE`, and begins after some bytes."""
    numbers = {256: size[0], 257: size[1], 259: kind.compression, 278: size[1]}
    numbers |= {273: PLACE + skip, 279: len(data) - skip}
    tags: Tags = kind.tags | {tag: (LONG, (value,)) for tag, value in numbers.items()}
    return replace(kind, compression=NONE, tags=tags).encode(GREY).ljust(PLACE, b"\0") + data


@pytest.mark.parametrize("name", ["group3", "group4", "tiff_ccitt"])
def test_faxes_of_either_order_of_bytes_and_bits_have_the_pixels_that_were_written(name: str) -> None:
    page = photograph().resize((97, 65)).convert("1")
    with tifffile.TiffFile(io.BytesIO(encode(page, "TIFF", compression=name))) as file:
        written = file.pages.first
        (place,), (size,), compression = written.dataoffsets, written.databytecounts, int(written.compression)
        file.filehandle.seek(place)
        strip = file.filehandle.read(size)
    for order, big, turned, photometric in itertools.product("<>", (False, True), (False, True), (0, 1)):
        tags: Tags = {258: (SHORT, (1,)), 266: (SHORT, (1 + turned,))}
        stored = bytes(int(f"{byte:08b}"[::-1], 2) for byte in strip) if turned else strip
        kind = Tiff(1, photometric, order, big, compression=compression, tags=tags)
        wanted = pixels(page) if photometric == written.photometric else 255 - pixels(page)
        assert np.array_equal(read(around(kind, page.size, stored)), wanted), kind


@pytest.mark.parametrize(("subsampling", "shared"), [(0, (1, 1)), (1, (2, 1)), (2, (2, 2))])
def test_old_style_jpeg_is_as_the_jpeg_in_it(subsampling: int, shared: tuple[int, int]) -> None:
    jpeg = encode(photograph().resize((96, 64)), "JPEG", subsampling=subsampling)
    scan = jpeg.index(b"\xff\xda")
    tags: Tags = {258: (SHORT, (8, 8, 8)), 277: (SHORT, (3,)), 530: (SHORT, shared)}
    tags |= {tag: (LONG, (value,)) for tag, value in {512: 1, 513: PLACE, 514: len(jpeg)}.items()}
    data = around(Tiff(8, YCBCR, compression=6, tags=tags), (96, 64), jpeg, scan)
    assert np.abs(read(data).astype(int) - read(jpeg)).mean() < 1


def test_of_several_pages_the_first_one_counts_and_no_sub_image() -> None:
    file = io.BytesIO()
    first, second = (COLOUR + start for start in (0, 50))
    with tifffile.TiffWriter(file) as writer:
        writer.write(first.astype(np.uint8), photometric="rgb", subifds=1)
        writer.write(second[::2, ::2].astype(np.uint8), photometric="rgb", subfiletype=1)
        writer.write(second.astype(np.uint8), photometric="rgb")
    assert np.array_equal(read(file.getvalue()), first)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_is_any_integer_and_what_is_wrong_with_it_costs_no_pixels(order: str, big: bool) -> None:
    for type_ in (BYTE, SHORT, LONG):
        data = Tiff(8, RGB, order, big, tags={274: (type_, (6,))}).encode(COLOUR)
        assert np.array_equal(read(data), np.rot90(COLOUR, -1))
    for wrong in ((SHORT, (0,)), (SHORT, (9,)), (LONG, (2**32 - 1,))):
        assert np.array_equal(read(Tiff(8, RGB, order, big, tags={274: wrong}).encode(COLOUR)), COLOUR)
    strange = data.replace(struct.pack(order + "HH", 274, LONG), struct.pack(order + "HH", 274, 12))
    assert np.array_equal(read(strange), COLOUR)


def test_pictures_of_other_codecs_are_turned_once() -> None:
    for options in ({"compression": "jpeg", "quality": 95}, {"compression": "tiff_lzw"}, {}):
        exif = Image.Exif()
        exif[0x0112] = 6
        picture = photograph().resize((96, 64))
        turned = read(encode(picture, "TIFF", exif=exif, **options)).astype(int)
        assert np.abs(turned - np.rot90(pixels(picture), -1)).mean() < 3


def test_a_file_cut_off_is_truncated_and_accepted_as_far_as_it_goes_if_not_compressed() -> None:
    for kind in (Tiff(), Tiff(16, RGB, planar=True), Tiff(12, chunk=(16, 16)), Tiff(compression=LZW)):
        samples = np.full((20, 20, COLOURS[kind.photometric]), 200 << (kind.bits - 8))
        data = kind.encode(samples)
        half = data[: len(data) // 2]
        assert refusal(half)[0] == "truncated"
        if kind.compression == NONE:
            part = read(half, accept_truncated=True)
            assert np.all(part[0, 0, :2] == 200)
            assert not part[-1, -1, -1]
