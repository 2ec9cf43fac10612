"""JPEG files of any sampling, and of processes that libjpeg does not decode."""

from __future__ import annotations

import re
import struct
from fractions import Fraction
from functools import cache

import av
import numpy as np
import pytest
from av.codec.context import CodecContext
from av.video.codeccontext import VideoCodecContext
from PIL import Image

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.images.decode import decode
from tests.image_files import patched
from tests.jpegs import Factors, bits_left, jpeg, segment
from tests.photographs import pixels
from tests.reader.images.whole_jpegs import JFIF, PLAIN, SMALL, damaged_copies, outcome, pillow, read

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


def mcu_blocks(factors: Factors) -> int:
    """Return how many blocks the coded data of `SMALL` have."""
    across, down = (8 * max(pair[axis] for pair in factors) for axis in (0, 1))
    return -(-SMALL.width // across) * -(-SMALL.height // down) * sum(h * v for h, v in factors)


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
