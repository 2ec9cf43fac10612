"""Geometry without a reference: contract, extreme shapes, and how near the fast mode is to the exact one."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from resnet_pipe.errors import SourceError
from resnet_pipe.preprocess.geometry import Geometry
from resnet_pipe.reader.decode import decode
from tests.photographs import NAMES, encode, photograph, pixels

Frame = NDArray[np.uint8]


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


@pytest.mark.parametrize(("resize", "crop"), [(224, 225), (5, 0), (0, 0)])
def test_a_crop_larger_than_the_resized_image_is_refused(resize: int, crop: int) -> None:
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


@pytest.mark.cv2
@given(st.integers(1, 700), st.integers(1, 700), st.integers(1, 64), st.integers(0, 64))
@settings(deadline=None, max_examples=200)
def test_fast_accepts_every_size(width: int, height: int, crop: int, more: int) -> None:
    frame = pixels(photograph("rocket.jpg").resize((width, height)))
    apply(Geometry(crop + more, crop, mode="fast"), frame)


def fast_from_exact(data: bytes, resize: int = 256, crop: int = 224) -> NDArray[np.int_]:
    """Return how far the two modes are apart on a file, reading included."""
    both = []
    for mode in ("exact", "fast"):
        geometry = Geometry(resize, crop, mode=mode)
        item = decode(data, 10**8, False, geometry.min_side)
        both.append(np.empty((crop, crop, 3), np.uint8))
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
        near = fast_from_exact(encode(photograph(name), "JPEG", quality=90), resize, crop)
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
