"""Geometry without a reference: contract, extreme shapes, and how near the fast mode is to the exact one."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from resnet_pipe.errors import SourceError
from resnet_pipe.preprocess.geometry import Geometry
from resnet_pipe.reader.images.decode import decode
from tests.photographs import NAMES, encode, photograph, pixels

Frame = NDArray[np.uint8]

FAST = Geometry(256, 224, mode="fast")


def apply(geometry: Geometry, frame: Frame) -> Frame:
    out = np.zeros((*geometry.size, 3), np.uint8)
    geometry.apply(frame, out)
    return out


def whole(frame: Frame, resize: int, crop: int) -> Frame:
    """Resize the whole image and cut out the middle, both with Pillow."""
    height, width = frame.shape[:2]
    size = (
        (resize, int(resize * height / width)) if width <= height else (int(resize * width / height), resize)
    )
    resized = Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR)
    left, top = (int(round((side - crop) / 2.0)) for side in size)  # noqa: RUF046
    return np.asarray(resized.crop((left, top, left + crop, top + crop)))


def difference(a: Frame, b: Frame) -> NDArray[np.int_]:
    return np.abs(a.astype(int) - b)


@pytest.mark.parametrize(
    ("resize", "crop"), [(224, 225), (5, 0), (0, 0), (100, (128, 64)), ((128, 60), (128, 64)), ((9, 9), 10)]
)
def test_a_crop_larger_than_the_resized_image_is_refused(
    resize: int | tuple[int, int], crop: int | tuple[int, int]
) -> None:
    with pytest.raises(ValueError, match="must be from 1 to resize"):
        Geometry(resize, crop)


def test_exact_is_what_resizing_the_whole_image_and_then_cutting_gives() -> None:
    for name in NAMES:
        frame = pixels(photograph(name))
        assert difference(apply(Geometry(256, 224), frame), whole(frame, 256, 224)).max() <= 1


def test_the_result_is_written_into_a_row_of_the_batch_and_nowhere_else() -> None:
    for mode in ("exact", "fast"):
        batch = np.full((3, 224, 224, 3), 7, np.uint8)
        frame = pixels(photograph())
        Geometry(256, 224, mode=mode).apply(frame, batch[1])
        assert (batch[[0, 2]] == 7).all()
        assert np.array_equal(batch[1], apply(Geometry(256, 224, mode=mode), frame))


def test_a_frame_of_the_right_size_passes_unchanged() -> None:
    frame = pixels(photograph("astronaut.png"))
    for mode in ("exact", "fast"):
        assert np.array_equal(apply(Geometry(512, 512, mode=mode), frame), frame)
        assert np.array_equal(apply(Geometry(512, 100, mode=mode), frame), frame[206:306, 206:306])


@pytest.mark.cv2
@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 10_000), (10_000, 1), (2, 40_000), (70_000, 3), (1, 1_000_000)]
)
def test_extreme_shapes_keep_a_flat_colour(mode: Literal["exact", "fast"], shape: tuple[int, int]) -> None:
    frame = np.empty((*shape, 3), np.uint8)
    frame[...] = (10, 100, 250)
    for interpolation in ("bilinear", "bicubic"):
        geometry = Geometry(256, 224, interpolation, mode)
        assert np.array_equal(apply(geometry, frame), np.broadcast_to(frame[0, 0], (224, 224, 3)))


def padded(frame: Frame, size: tuple[int, int], colour: tuple[int, int, int]) -> Frame:
    """Resize the whole image to fit inside, and paste it into the middle, both with Pillow."""
    height, width = frame.shape[:2]
    scale = min(size[0] / height, size[1] / width)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = Image.new("RGB", size[::-1], colour)
    place = (size[1] - inner[0]) // 2, (size[0] - inner[1]) // 2
    canvas.paste(Image.fromarray(frame).resize(inner, Image.Resampling.BILINEAR), place)
    return np.asarray(canvas)


@given(
    st.sampled_from(NAMES),
    st.tuples(st.integers(1, 500), st.integers(1, 500)),
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
)
@settings(max_examples=100)
def test_padding_is_resizing_and_pasting_bit_for_bit(
    name: str, image: tuple[int, int], crop: tuple[int, int]
) -> None:
    frame = pixels(photograph(name).resize(image))
    for value, colour in ((114, (114, 114, 114)), ((1, 2, 3), (1, 2, 3))):
        geometry = Geometry(None, crop, fit="pad", pad_value=value)
        assert np.array_equal(apply(geometry, frame), padded(frame, crop, colour))


def test_a_letterbox_is_where_detectors_have_it() -> None:
    frame = np.full((375, 500, 3), 200, np.uint8)
    found = apply(Geometry(None, 640, fit="pad", pad_value=114), frame)
    assert (found[80:560] == 200).all()
    assert (found[:80] == 114).all()
    assert (found[560:] == 114).all()
    odd = apply(Geometry(None, (6, 5), fit="pad"), np.full((3, 5, 3), 200, np.uint8))
    assert odd[:, 0, 0].tolist() == [0, 200, 200, 200, 0, 0]


FITS = [
    Geometry(160, (128, 64), mode="fast"),
    Geometry((144, 80), (128, 64), mode="fast"),
    Geometry(None, (128, 64), mode="fast", fit="squash"),
    Geometry(None, (64, 160), mode="fast", fit="squash"),
    Geometry(None, (128, 64), mode="fast", fit="pad", pad_value=114),
    Geometry(None, (96, 160), mode="fast", fit="pad"),
]


@pytest.mark.cv2
@pytest.mark.parametrize("geometry", FITS, ids=lambda geometry: f"{geometry.fit}-{geometry.resize}")
@given(image=st.tuples(st.integers(1, 700), st.integers(1, 700)))
@settings(max_examples=60)
def test_fast_accepts_every_size_whatever_the_fit(geometry: Geometry, image: tuple[int, int]) -> None:
    apply(geometry, pixels(photograph("rocket.jpg").resize(image)))


@pytest.mark.cv2
@pytest.mark.parametrize("geometry", FITS, ids=lambda geometry: f"{geometry.fit}-{geometry.resize}")
@pytest.mark.parametrize("size", [(301, 700), (700, 301), (1153, 1151), (2313, 577), (1400, 1400)])
def test_fast_is_near_exact_whatever_the_fit(geometry: Geometry, size: tuple[int, int]) -> None:
    """As near as for a square input that is as small as these: 2.8 on average for `Geometry(64, 64)`."""
    for name in NAMES[:3]:
        data = encode(photograph(name).resize(size, Image.Resampling.BICUBIC), "JPEG", quality=90)
        near = fast_from_exact(data, geometry)
        assert near.mean() < 3, name
        assert near.max() < 55, name


@pytest.mark.cv2
@given(st.integers(1, 700), st.integers(1, 700), st.integers(1, 64), st.integers(0, 64))
@settings(max_examples=200)
def test_fast_accepts_every_size(width: int, height: int, crop: int, more: int) -> None:
    frame = pixels(photograph("rocket.jpg").resize((width, height)))
    apply(Geometry(crop + more, crop, mode="fast"), frame)


def fast_from_exact(data: bytes, fast: Geometry = FAST) -> NDArray[np.int_]:
    """Return how far the two modes are apart on a file, reading included."""
    both = []
    for geometry in (replace(fast, mode="exact"), fast):
        item = decode(data, 10**8, False, geometry.min_side)
        both.append(np.empty((*geometry.size, 3), np.uint8))
        geometry.apply(item.frame, both[-1], item.extent)
    return difference(*both)


@pytest.mark.cv2
@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
@pytest.mark.parametrize("side", [300, 375, 480, 511, 575, 576, 701, 1151, 1152, 1300])
def test_fast_is_near_exact_on_photographs_of_any_size(side: int, format_: str) -> None:
    options = {"quality": 90} if format_ == "JPEG" else {"compress_level": 0}
    for name in NAMES[:3]:
        photo = photograph(name)
        size = [round(pixels * side / min(photo.size)) for pixels in photo.size]
        near = fast_from_exact(encode(photo.resize(size, Image.Resampling.LANCZOS), format_, **options))
        assert near.mean() < 2, name
        assert near.max() < 40, name


@pytest.mark.cv2
@pytest.mark.parametrize(("resize", "crop"), [(224, 224), (232, 224), (64, 33)])
def test_fast_is_near_exact_to_any_size(resize: int, crop: int) -> None:
    for name in NAMES:
        near = fast_from_exact(
            encode(photograph(name), "JPEG", quality=90), Geometry(resize, crop, mode="fast")
        )
        assert near.mean() < 2, name
        assert near.max() < 55, name


@pytest.mark.cv2
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(701, 577), (2313, 3001), (1000, 1152)])
def test_fast_is_near_exact_where_pixels_of_a_reduced_jpeg_are_partly_covered(
    size: tuple[int, int], orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(photograph().resize(size, Image.Resampling.BICUBIC), "JPEG", quality=90, exif=exif)
    assert fast_from_exact(data).mean() < 1


def test_only_fast_lets_a_reader_shrink_the_image() -> None:
    assert Geometry(256, 224).min_side is None
    assert Geometry(256, 224, mode="fast").min_side == 288


def test_a_reader_leaves_both_sides_as_large_as_they_are_resized_to() -> None:
    """Of whichever shape the image is, and however it is turned: the shorter side is all that is promised."""
    assert [geometry.min_side for geometry in FITS] == [180, 162, 144, 180, 72, 108]


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
)
def test_a_frame_that_is_not_rgb_is_a_failure_of_preprocess(frame: NDArray[np.uint8]) -> None:
    with pytest.raises(SourceError) as caught:
        apply(Geometry(8, 8), frame)
    assert (caught.value.stage, caught.value.error) == ("preprocess", "bad_frame")


def test_frames_with_gaps_between_their_rows_are_accepted() -> None:
    frame = pixels(photograph())
    for mode in ("exact", "fast"):
        geometry = Geometry(64, 48, mode=mode)
        assert np.array_equal(
            apply(geometry, frame[::-1, 10:200]), apply(geometry, frame[::-1, 10:200].copy())
        )
