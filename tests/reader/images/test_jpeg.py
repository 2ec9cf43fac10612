"""JPEG files that are not ordinary: harmless oddities, and damage beside them."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import reduce

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from tests.jpegs import jpeg, segment
from tests.photographs import NAMES, encode, photograph
from tests.reader.images.whole_jpegs import JFIF, PLAIN, SMALL, damaged_copies, outcome, pillow, read

PROGRESSIVE = encode(SMALL, "JPEG", progressive=True)


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


@pytest.mark.cv2
def test_an_odd_sampling_may_come_with_every_oddity() -> None:
    data = jpeg(SMALL.convert("YCbCr"), [(3, 1), (1, 1), (1, 1)], extra=JFIF)
    for name, change in {**ODDITIES, **SILENT}.items():
        assert np.array_equal(read(change(data)), pillow(data)), name


# -- damage beside them ------------------------------------------------------------------------------------


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


def test_a_file_whose_line_ends_were_converted_is_damaged() -> None:
    """Its tables are shifted, and what they have pushed out lies between segments."""
    for quality in range(60, 95):
        plain = encode(SMALL.resize((4, 4)), "JPEG", quality=quality, optimize=True)
        if plain.count(b"\n") > 1:
            assert np.array_equal(read(plain), pillow(plain))
            assert outcome(plain.replace(b"\n", b"\r\n")) == "damaged"


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
