"""Side data, such as captions and what is said about colours, cost no picture when they are malformed."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.reader.reading import Reading, read
from tests.reader.video.test_video_damage import is_beginning_of, overwrite, packets
from tests.remuxing import Change, remux

MESSAGES = [
    (4, b"", 0),  # ITU-T T.35, of no country
    (4, b"\xb5", 60),  # shorter than it says
    (4, b"\xb5\x00\x31GA94\x03\xff\xff", 10),  # fewer captions than it says
    (4, b"\xb5\x00\x3c\x00\x01\x04\x01\xff", 8),  # HDR10+
    (137, b"\xff\xff\xff", 3),  # a mastering display
    (137, b"\x01" * 24, 24),
    (1, b"\xff", 50),  # timing
    (5, b"short", 5),  # what the encoder says of itself
    (132, b"\x01\x01", 2),  # a hash of the picture
    (200, b"\xff" * 9, 90),  # nobody knows
]
"""Malformed SEI: type, payload, and the length that it says (ITU-T H.265 and H.264, annex D)."""


def message(number: int) -> bytes:
    """Return one of them; every other one lacks the bit that ends it."""
    kind, payload, length = MESSAGES[number % len(MESSAGES)]
    return bytes([kind, length]) + payload + b"\x80" * (number // len(MESSAGES) % 2)


def unit(header: bytes, body: bytes) -> bytes:
    """Return a NAL unit as MP4 and Matroska hold it."""
    return (len(header) + len(body)).to_bytes(4, "big") + header + body


def obu(number: int) -> bytes:
    """Return malformed metadata of AV1: light level, mastering display or T.35 (AV1, section 5.8)."""
    bodies = [b"\x01", b"\x01\xff", b"\x02\x01\x01", b"\x02", b"\x04\xb5\x00\x31GA94\x03\xff\xff\x80"]
    body = bodies[number % len(bodies)]
    return bytes([5 << 3 | 2, len(body)]) + body


def user_data(data: bytes) -> bytes:
    """Put malformed captions before the first slice of a picture of MPEG-2 (ISO/IEC 13818-2, 6.2.2.2)."""
    slices = data.index(b"\0\0\1\1")
    return data[:slices] + b"\0\0\1\xb2GA94\x03\xff\xff" + data[slices:]


CHANGES: dict[str, tuple[str, str, Change]] = {
    "hevc, before": ("hevc.mp4", "mp4", lambda number, data: unit(b"\x4e\x01", message(number)) + data),
    "hevc, after": ("hevc.mkv", "mkv", lambda number, data: data + unit(b"\x50\x01", message(number))),
    "hevc, dolby vision": ("hevc.mp4", "mp4", lambda _, data: data + unit(b"\x7c\x01", b"\x19\xff\xff\xff")),
    "h264": ("h264.mp4", "mp4", lambda number, data: unit(b"\x06", message(number)) + data),
    "av1": ("av1.mp4", "mkv", lambda number, data: obu(number) + data),
    "mpeg2": ("mpeg2.ts", "mkv", lambda _, data: user_data(data)),
}
"""What is put into every packet of which video, and in which container."""


@pytest.mark.parametrize("name", CHANGES)
def test_malformed_side_data_cost_no_picture(name: str, videos: Path, tmp_path: Path) -> None:
    sample, container, change = CHANGES[name]
    plain = read(videos / sample)
    changed = read(remux(videos / sample, tmp_path / f"video.{container}", change))
    assert changed.failure is None
    assert changed.indices == plain.indices
    assert all(map(np.array_equal, pictures(changed), pictures(plain)))


def pictures(reading: Reading) -> list[NDArray[np.uint8]]:
    return [row.frame for row in reading.rows]


def test_malformed_sei_in_the_header_of_a_file_costs_no_picture(videos: Path, tmp_path: Path) -> None:
    def extended(extradata: bytes) -> bytes:
        """Add an array of one SEI to a decoder's configuration (ISO/IEC 14496-15, section 8.3.3.1)."""
        sei = unit(b"\x4e\x01", message(1))
        return extradata[:22] + bytes([extradata[22] + 1]) + extradata[23:] + b"\xa7\x00\x01" + sei[2:]

    path = remux(videos / "hevc.mp4", tmp_path / "video.mp4", lambda _, data: data, extended)
    changed = read(path)
    assert changed.failure is None
    assert all(map(np.array_equal, pictures(changed), pictures(read(videos / "hevc.mp4"))))


def test_side_data_that_matter_are_kept_beside_malformed_ones(videos: Path, tmp_path: Path) -> None:
    mirrored = unit(b"\x4e\x01", bytes([47, 3, 0x40, 0x00, 0x18, 0x80]))  # a display orientation (D.2.17)

    def change(number: int, data: bytes) -> bytes:
        return mirrored + data + unit(b"\x50\x01", message(number))

    changed = read(remux(videos / "hevc.mp4", tmp_path / "video.mp4", change))
    assert changed.failure is None
    mirrors = [np.flip(frame, 1) for frame in pictures(read(videos / "hevc.mp4"))]
    assert all(map(np.array_equal, pictures(changed), mirrors))


def test_a_picture_that_is_refused_in_its_middle_is_not_given_out(videos: Path, tmp_path: Path) -> None:
    sample = videos / "hevc.mp4"
    whole, refused = read(sample), 0
    for position, length in packets(sample)[1:]:
        if length > 80:
            continue  # the more there is of it, the less damage shows
        block = random.Random(position).randbytes(length // 3)
        reading = read(overwrite(tmp_path / "video.mp4", sample, position + length - len(block), block))
        if reading.error is not None:
            refused += 1
            assert is_beginning_of(reading, whole)
    assert refused


ODDITIES = {
    "no JFIF at all": lambda data: data[:2] + b"\xff\xe0\x00\x02" + data[2:],
    "EXIF that ends early": lambda data: data[:2] + b"\xff\xe1\x00\x0cExif\0\0MM\0*" + data[2:],
    "colours of no kind": lambda data: data[:2] + b"\xff\xe2\x00\x12ICC_PROFILE\0\x05\x02ab" + data[2:],
    "a marker of nobody": lambda data: data[:2] + b"\xff\xef\x00\x05abc" + data[2:],
    "a comment of no letters": lambda data: data[:2] + b"\xff\xfe\x00\x02" + data[2:],
    "bytes between markers": lambda data: data[:2] + b"\xff\xff\xff" + data[2:],
    "bytes after the end": lambda data: data + bytes(9),
}
"""What libjpeg warns of or takes as it is, by what it is called here; each into one frame."""


def test_oddities_that_are_no_damage_cost_no_frame_of_mjpeg(videos: Path, tmp_path: Path) -> None:
    changes = list(ODDITIES.values())
    path = remux(
        videos / "mjpeg.mov",
        tmp_path / "video.mov",
        lambda number, data: changes[number % len(changes)](data),
    )
    changed = read(path)
    assert changed.failure is None
    assert all(map(np.array_equal, pictures(changed), pictures(read(videos / "mjpeg.mov"))))
