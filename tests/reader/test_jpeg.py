"""JPEG files that are not ordinary: harmless oddities, damage beside them, any sampling, other processes."""

from __future__ import annotations

import io
import random
import re
import struct
from collections.abc import Callable
from fractions import Fraction
from functools import cache, reduce

import av
import numpy as np
import pytest
import simplejpeg
from av.codec.context import CodecContext
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray
from PIL import Image

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.decode import decode
from tests.image_files import patched
from tests.jpegs import Factors, bits_left, jpeg, segment
from tests.photographs import NAMES, encode, photograph, pixels

Frame = NDArray[np.uint8]

SMALL = photograph().resize((97, 65))
PLAIN = encode(SMALL, "JPEG")
PROGRESSIVE = encode(SMALL, "JPEG", progressive=True)


def read(data: bytes, min_side: int | None = None) -> Frame:
    return decode(data, 10**6, False, min_side).frame


def outcome(data: bytes, accept_truncated: bool = False) -> Frame | str:
    """Return the pixels or the class of failure."""
    try:
        return decode(data, 10**6, accept_truncated, None).frame
    except SourceError as error:
        return error.error


def pillow(data: bytes) -> Frame:
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        return pixels(image)


def mcu_blocks(factors: Factors) -> int:
    """Return how many blocks the coded data of `SMALL` have."""
    across, down = (8 * max(pair[axis] for pair in factors) for axis in (0, 1))
    return -(-SMALL.width // across) * -(-SMALL.height // down) * sum(h * v for h, v in factors)


# -- harmless oddities ------------------------------------------------------------------------------------


def first(data: bytes, extra: bytes) -> bytes:
    return data[:2] + extra + data[2:]


def with_scan_parameters(data: bytes) -> bytes:
    """Set those of the first scan to zeros, as some phones do."""
    start = data.index(b"\xff\xda")
    end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    return data[: end - 3] + bytes(3) + data[end:]


def before(data: bytes, marker: bytes, extra: bytes) -> bytes:
    start = data.index(marker)
    return data[:start] + extra + data[start:]


JFIF = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")
ICC = b"ICC_PROFILE\0"
ODDITIES: dict[str, Callable[[bytes], bytes]] = {
    "JFIF revision": lambda data: first(data, JFIF.replace(b"\0\1\1", b"\0\7\2")),
    "scan parameters": with_scan_parameters,
    "stray byte": lambda data: before(data, b"\xff\xdb", b"\0"),
    "stray bytes": lambda data: before(data, b"\xff\xc0", b"stray \xff\0 bytes"),
    "stray bytes before the scan": lambda data: before(data, b"\xff\xda", b"??"),
    "profile without an end": lambda data: first(data, segment(0xE2, ICC + b"\2\5abc")),
    "profile numbered from zero": lambda data: first(data, segment(0xE2, ICC + b"\0\1abc")),
    "profile twice": lambda data: first(data, 2 * segment(0xE2, ICC + b"\1\2abc")),
    "zeros before the end": lambda data: data[:-2] + bytes(1000) + data[-2:],
}
SILENT: dict[str, Callable[[bytes], bytes]] = {
    "few zeros before the end": lambda data: data[:-2] + bytes(3) + data[-2:],
    "broken EXIF": lambda data: first(data, segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff")),
    "broken XMP": lambda data: first(data, segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<")),
    "broken MPF": lambda data: first(data, segment(0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff")),
    "short JFIF": lambda data: first(data, segment(0xE0, b"JFIF\0\1")),
    "short Adobe": lambda data: first(data, segment(0xEE, b"Adobe")),
    "comments": lambda data: first(data, segment(0xFE, bytes(65533)) * 100),
    "segment without room for its length": lambda data: first(data, b"\xff\xfe\0\0"),
    "fill bytes": lambda data: before(data, b"\xff\xdb", b"\xff" * 9),
    "lone markers": lambda data: before(data, b"\xff\xdb", b"\xff\x01\xff\xd3"),
    "bytes after the end": lambda data: data + b"\0" * 99 + b"\xff\xd8\xff\xe1",
}


@pytest.mark.parametrize("name", ODDITIES)
def test_a_warning_about_what_no_pixel_depends_on_is_not_damage(name: str) -> None:
    odd = ODDITIES[name](PLAIN)
    assert not simplejpeg_is_content(odd)
    assert np.array_equal(read(odd), pillow(PLAIN))


@pytest.mark.parametrize("name", SILENT)
def test_metadata_and_filling_cost_no_pixel(name: str) -> None:
    assert np.array_equal(read(SILENT[name](PLAIN)), pillow(PLAIN))


def test_many_oddities_in_one_file_are_as_harmless_as_one() -> None:
    odd = reduce(lambda data, change: change(data), [*ODDITIES.values(), *SILENT.values()], PLAIN)
    assert np.array_equal(read(odd), pillow(PLAIN))
    assert np.array_equal(read(odd, min_side=16), read(PLAIN, min_side=16))


@pytest.mark.parametrize("bands", [3, 4])
def test_an_unknown_adobe_transform_is_taken_for_the_usual_one(bands: int) -> None:
    image = SMALL.convert("YCbCr" if bands == 3 else "CMYK")
    usual, unknown = (
        jpeg(image, [(1, 1)] * bands, extra=segment(0xEE, b"Adobe" + bytes(6) + bytes([transform])))
        for transform in (bands - 2 if bands == 4 else 1, 9)
    )
    assert np.array_equal(read(unknown), pillow(usual))


@pytest.mark.cv2
def test_an_odd_file_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encode(SMALL, "JPEG", exif=exif)
    assert np.array_equal(read(with_scan_parameters(turned)), read(turned))
    assert read(turned).shape == (97, 65, 3)


def grey(number: int) -> bytes:
    """Return one of many pictures."""
    box = number, number // 2, number + 40, number // 2 + 24
    return encode(photograph(NAMES[number % len(NAMES)]).crop(box).convert("L"), "JPEG")


def test_the_coded_data_may_end_with_a_zero_byte_before_the_filling() -> None:
    whole = (encode(Image.open(io.BytesIO(grey(number))).convert("RGB"), "JPEG") for number in range(1000))
    data = next(data for data in whole if data[-4] not in (0, 255) and not data[-3])
    assert np.array_equal(read(data[:-2] + bytes(500) + data[-2:]), pillow(data))


# -- damage beside them ------------------------------------------------------------------------------------


def damaged_copies(data: bytes, count: int) -> list[bytes]:
    """Return copies with other, or without some, bytes of the coded data."""
    chance = random.Random(count)
    start = data.index(b"\xff\xda") + 14
    copies = []
    for number in range(count):
        place = chance.randrange(start, len(data) - 2)
        middle = bytes([data[place] ^ 1 << chance.randrange(8)]) if number % 2 else b""
        copies.append(data[:place] + middle + data[place + chance.randrange(1, 4) :])
    return copies


def check_oddities_hide_nothing(data: bytes, count: int) -> None:
    """Check that the damaged copies which fail do so with each oddity as well."""
    failing = [copy for copy in damaged_copies(data, count) if isinstance(outcome(copy), str)]
    assert len(failing) > count // 20
    for name, change in ODDITIES.items():
        for copy in failing:
            if name == "zeros before the end" and (
                simplejpeg_is_content(change(copy)) or simplejpeg_is_content(copy[:-2] + b"\0" + copy[-2:])
            ):
                continue  # what is missing may be zeros, to libjpeg, or one byte
            assert isinstance(outcome(change(copy)), str), name


def simplejpeg_is_content(data: bytes) -> bool:
    try:
        simplejpeg.decode_jpeg(data)
    except ValueError:
        return False
    return True


def test_an_oddity_does_not_hide_damage() -> None:
    check_oddities_hide_nothing(PLAIN, 60)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"optimize": True}, {"restart_marker_rows": 1}])
def test_an_oddity_does_not_hide_damage_in_any_of_many_files(options: dict[str, int]) -> None:
    for name in NAMES:
        check_oddities_hide_nothing(encode(photograph(name).resize((97, 65)), "JPEG", **options), 300)


@pytest.mark.parametrize("filling", [0, 3, 300])
def test_a_file_that_is_cut_off_and_filled_up_is_damaged(filling: int) -> None:
    for cut in range(len(PLAIN) // 2, len(PLAIN) - 40, 41):
        assert outcome(PLAIN[:cut] + bytes(filling) + b"\xff\xd9") == "damaged"


def test_filling_does_not_stand_in_for_the_last_bits() -> None:
    short = next(
        data for data in map(grey, range(1000)) if simplejpeg_is_content(data[:-3] + b"\0" + data[-2:])
    )
    assert short[-3]
    assert outcome(short[:-3] + short[-2:]) == "damaged"
    assert outcome(short[:-3] + bytes(500) + short[-2:]) == "damaged"


def test_bytes_before_the_end_that_are_not_zeros_may_be_what_is_left_of_the_pixels() -> None:
    assert outcome(PLAIN[:-2] + b"\xaa" * 20 + PLAIN[-2:]) == "damaged"
    assert outcome(PLAIN[:-2] + bytes(20) + b"\xaa" + PLAIN[-2:]) == "damaged"


def test_bytes_between_segments_that_may_be_a_table_are_damage() -> None:
    tables = encode(SMALL, "JPEG", optimize=True)
    for broken in (b"\x7f\xc4", b"\xff\xd4", b"\xff\x00"):
        assert outcome(tables.replace(b"\xff\xc4", broken, 1)) == "damaged"


def test_filling_in_place_of_scans_is_damage() -> None:
    scans = [place for place in range(len(PROGRESSIVE)) if PROGRESSIVE.startswith(b"\xff\xda", place)]
    tables = PROGRESSIVE.rindex(b"\xff\xc4", 0, scans[4])
    assert outcome(PROGRESSIVE[:tables] + bytes(300) + b"\xff\xd9") == "damaged"
    assert np.array_equal(read(PROGRESSIVE[:-2] + bytes(300) + b"\xff\xd9"), pillow(PROGRESSIVE))


def test_scans_in_another_order_and_lost_restart_markers_are_damage() -> None:
    progressive = jpeg(SMALL.convert("YCbCr"), [(1, 1)] * 3, progressive=True)
    one, two, *_ = (place for place in range(len(progressive)) if progressive.startswith(b"\xff\xda", place))
    three = progressive.index(b"\xff\xda", two + 2)
    assert (
        outcome(progressive[:one] + progressive[two:three] + progressive[one:two] + progressive[three:])
        == "damaged"
    )
    restarts = encode(SMALL, "JPEG", restart_marker_rows=1)
    assert outcome(restarts.replace(b"\xff\xd1", b"\xff\xd2", 1)) == "damaged"


# -- samplings ---------------------------------------------------------------------------------------------

SAMPLINGS: list[Factors] = [
    [(1, 4), (1, 1), (1, 1)],
    [(3, 1), (1, 1), (1, 1)],
    [(1, 3), (1, 1), (1, 1)],
    [(4, 2), (1, 1), (1, 1)],
    [(2, 4), (1, 1), (1, 1)],
    [(3, 2), (1, 1), (3, 1)],
    [(2, 2), (2, 1), (1, 2)],
    [(2, 1), (1, 1), (2, 1)],
    [(1, 1), (1, 1), (2, 2)],
    [(2, 2), (1, 1), (1, 1), (2, 2)],
    [(2, 1), (1, 1), (1, 1), (1, 1)],
    [(3, 1)],
    [(4, 4)],
]


@cache
def sampled(factors: tuple[tuple[int, int], ...], progressive: bool = False) -> bytes:
    mode = {1: "L", 3: "YCbCr", 4: "CMYK"}[len(factors)]
    image = SMALL.convert(mode)
    if mode == "CMYK":  # stored inverted, and Pillow inverts no bands
        image = Image.fromarray(~np.asarray(image), "CMYK")
    return jpeg(image, factors, progressive=progressive, extra=JFIF)


@pytest.mark.cv2
@pytest.mark.parametrize("progressive", [False, True])
def test_every_sampling_has_the_pixels_that_pillow_gives_it(progressive: bool) -> None:
    for factors in SAMPLINGS:
        data = sampled(tuple(factors), progressive)
        frame = read(data)
        assert np.array_equal(frame, pillow(data)), factors
        truth = SMALL.convert("L").convert("RGB") if len(factors) == 1 else SMALL
        assert np.abs(frame.astype(int) - pixels(truth)).mean() < 12, factors
        if len(factors) == 3:  # TurboJPEG has a name for the others
            assert np.array_equal(read(data, min_side=16), frame), factors


@pytest.mark.cv2
def test_an_odd_sampling_may_come_with_every_oddity() -> None:
    data = sampled(((3, 1), (1, 1), (1, 1)))
    for name, change in {**ODDITIES, **SILENT}.items():
        assert np.array_equal(read(change(data)), pillow(data)), name


@pytest.mark.cv2
def test_an_image_of_odd_sampling_that_is_cut_off_is_truncated() -> None:
    data = sampled(((3, 1), (1, 1), (1, 1)))
    for cut in (len(data) // 2, len(data) * 3 // 4, len(data) - 2):
        assert outcome(data[:cut]) == "truncated"
        part = outcome(data[:cut], accept_truncated=True)
        assert not isinstance(part, str)
        assert np.array_equal(part[:16], pillow(data)[:16])
    broken = patched(data[: len(data) * 3 // 4], b"\xff\xda", 200, b"\xff\xd0")
    assert outcome(broken, accept_truncated=True) == "damaged"


@pytest.mark.cv2
def test_an_image_of_odd_sampling_may_be_too_large() -> None:
    data = sampled(((3, 1), (1, 1), (1, 1)))
    with pytest.raises(SourceError, match="more than reader") as caught:
        decode(data, SMALL.width * SMALL.height - 1, False, None)
    assert caught.value.error == "too_large"


def check_sampling_hides_nothing(factors: Factors, count: int) -> None:
    """Check that files fail where, to a decoder that only reads the codes, bits are missing or left."""
    data = sampled(tuple(factors))
    start = data.index(b"\xff\xda") + 8 + 2 * len(factors)
    assert 0 <= bits_left(data[start:-2], mcu_blocks(factors))[0] < 8
    rows = 0
    for copy in damaged_copies(data, count):
        result = outcome(copy)
        left, exist = bits_left(copy[start:-2], mcu_blocks(factors))
        if re.search(rb"\xff[^\0\xff]", copy[start:-2]) or left < 0 or left >= 72:  # it overlooks eight bytes
            assert isinstance(result, str)
        elif exist and left < 8:
            assert np.array_equal(result, pillow(copy))
            rows += 1
    assert 0 < rows < count * 3 // 4


@pytest.mark.cv2
def test_damage_in_an_image_of_odd_sampling_is_a_failure() -> None:
    check_sampling_hides_nothing([(3, 1), (1, 1), (1, 1)], 60)
    check_sampling_hides_nothing([(2, 2), (1, 1), (1, 1), (2, 2)], 60)


@pytest.mark.cv2
@pytest.mark.slow
@pytest.mark.parametrize("factors", [factors for factors in SAMPLINGS if len(factors) > 1])
def test_damage_in_an_image_of_any_sampling_is_a_failure(factors: Factors) -> None:
    check_sampling_hides_nothing(factors, 500)


# -- other processes ---------------------------------------------------------------------------------------


def frame_of(
    code: int, precision: int = 8, components: int = 3, height: int = 65, sampling: int = 0x11
) -> bytes:
    """Return `PLAIN` with another frame header."""
    body = struct.pack(">BHHB", precision, height, 97, components)
    body += b"".join(bytes([name, sampling if name == 1 else 0x11, 0]) for name in range(components))
    start = PLAIN.index(b"\xff\xc0")
    return PLAIN[:start] + segment(code, body) + PLAIN[start + 19 :]


def by_ffmpeg(codec: str, pixel_format: str) -> bytes:
    """Return a picture of a kind that FFmpeg alone can write."""
    context = CodecContext.create(codec, "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = SMALL.width, SMALL.height, pixel_format
    context.time_base = Fraction(1)
    context.options = {"strict": "-2"}
    frame = av.VideoFrame.from_ndarray(pixels(SMALL), format="rgb24").reformat(format=pixel_format)
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


OTHER_PROCESSES = {
    "12 bits": lambda: frame_of(0xC1, precision=12),
    "lossless": lambda: by_ffmpeg("ljpeg", "bgr24"),
    "arithmetic": lambda: frame_of(0xCB),
    "JPEG-LS": lambda: by_ffmpeg("jpegls", "rgb24"),
    "JPEG-LS.*16 bits": lambda: by_ffmpeg("jpegls", "gray16le"),
    r"hierarchical JPEG \(SOF5\)": lambda: frame_of(0xC5),
    r"hierarchical JPEG \(SOF15\)": lambda: frame_of(0xCF),
    r"hierarchical JPEG \(DHP\)": lambda: frame_of(0xDE),
    "2 components": lambda: frame_of(0xC0, components=2),
    "5 components": lambda: frame_of(0xC0, components=5),
    "DNL": lambda: frame_of(0xC0, height=0)[:-2] + segment(0xDC, b"\0\x41") + b"\xff\xd9",
    "fractional": lambda: jpeg(SMALL.convert("YCbCr"), [(3, 1), (2, 1), (1, 1)]),
    "more than 10 blocks": lambda: jpeg(SMALL.convert("YCbCr"), [(4, 4), (1, 1), (1, 1)]),
}


@pytest.mark.cv2
@pytest.mark.parametrize("name", OTHER_PROCESSES)
def test_what_libjpeg_cannot_decode_is_unsupported_and_named(name: str) -> None:
    with pytest.raises(SourceError, match=name) as caught:
        read(OTHER_PROCESSES[name]())
    assert caught.value.error == "unsupported"


def test_a_lossless_jpeg_that_libjpeg_decodes_is_decoded_and_never_to_less_than_its_size() -> None:
    data = by_ffmpeg("ljpeg", "yuvj444p")
    assert np.array_equal(read(data), pillow(data))
    assert np.array_equal(read(data, min_side=16), pillow(data))
