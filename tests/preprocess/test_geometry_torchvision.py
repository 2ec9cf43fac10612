"""The exact mode against its definition: torchvision's Resize and CenterCrop on PIL images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from resnet_pipe.preprocess.geometry import Geometry
from resnet_pipe.preprocess.resizing import Interpolation
from tests.photographs import NAMES, photograph

transforms = pytest.importorskip("torchvision.transforms")


LIMITS: dict[Interpolation, int] = {"bilinear": 1, "bicubic": 0, "lanczos": 0, "nearest": 0}
"""The largest difference at any pixel, grey levels."""


def largest_difference(image: Image.Image, geometry: Geometry) -> int:
    mode = transforms.InterpolationMode(geometry.interpolation)
    resize = geometry.size if geometry.fit == "squash" else geometry.resize
    reference = transforms.CenterCrop(geometry.size)(transforms.Resize(resize, mode)(image))
    out = np.empty((*geometry.size, 3), np.uint8)
    geometry.apply(np.asarray(image), out)
    return int(np.abs(out.astype(int) - np.asarray(reference)).max())


@pytest.mark.parametrize("interpolation", LIMITS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (232, 224), (288, 288), (64, 33), (600, 599)])
def test_photographs_are_as_torchvision_makes_them(
    interpolation: Interpolation, name: str, resize: int, crop: int
) -> None:
    difference = largest_difference(photograph(name), Geometry(resize, crop, interpolation))
    assert difference <= LIMITS[interpolation]


@given(
    st.sampled_from(NAMES),
    st.integers(1, 500),
    st.integers(1, 500),
    st.integers(1, 300),
    st.integers(0, 60),
    st.sampled_from(sorted(LIMITS)),
)
@settings(max_examples=300)
def test_any_size_scale_and_shape_is_as_torchvision_makes_it(
    name: str, width: int, height: int, crop: int, more: int, interpolation: Interpolation
) -> None:
    resize = crop + more
    if max(width, height) * resize // min(width, height) > 20_000:
        height = width  # the reference would need gigabytes
    image = photograph(name).resize((width, height))
    assert largest_difference(image, Geometry(resize, crop, interpolation)) <= LIMITS[interpolation]


@pytest.mark.parametrize("interpolation", LIMITS)
@pytest.mark.parametrize("size", [(1, 60), (60, 1), (3, 301), (1411, 20), (256, 10_000), (10_000, 300)])
def test_thin_images_are_as_torchvision_makes_them(
    interpolation: Interpolation, size: tuple[int, int]
) -> None:
    image = photograph("retina.jpg").resize(size)
    assert largest_difference(image, Geometry(256, 224, interpolation)) <= LIMITS[interpolation]


@pytest.mark.parametrize("interpolation", LIMITS)
@pytest.mark.parametrize("resize", [256, 245])
def test_noise_the_hardest_picture_is_as_torchvision_makes_it(
    interpolation: Interpolation, resize: int
) -> None:
    chance = np.random.default_rng(0)
    for _ in range(30):
        height, width = chance.integers(100, 900, 2)
        noise = chance.choice(np.array([0, 255], np.uint8), (height, width, 3))
        difference = largest_difference(Image.fromarray(noise), Geometry(resize, 224, interpolation))
        assert difference <= LIMITS[interpolation]


_SIZES = st.tuples(st.integers(1, 300), st.integers(1, 300))


@given(
    st.sampled_from(NAMES),
    st.tuples(st.integers(1, 500), st.integers(1, 500)),
    _SIZES,
    _SIZES | st.integers(0, 60),
    st.sampled_from(sorted(LIMITS)),
)
@settings(max_examples=300)
def test_any_height_and_width_is_as_torchvision_makes_it(
    name: str,
    size: tuple[int, int],
    crop: tuple[int, int],
    more: tuple[int, int] | int,
    interpolation: Interpolation,
) -> None:
    image = photograph(name).resize(size)
    if isinstance(more, int):
        resize: int | tuple[int, int] = max(crop) + more
        if max(size) * max(crop) // min(size) > 20_000:
            image = image.resize((size[0], size[0]))  # the reference would need gigabytes
    else:
        resize = (crop[0] + more[0], crop[1] + more[1])
    assert largest_difference(image, Geometry(resize, crop, interpolation)) <= LIMITS[interpolation]


@given(st.sampled_from(NAMES), _SIZES, _SIZES, st.sampled_from(sorted(LIMITS)))
@settings(max_examples=100)
def test_squashing_is_resizing_to_the_size_bit_for_bit(
    name: str, size: tuple[int, int], crop: tuple[int, int], interpolation: Interpolation
) -> None:
    image = photograph(name).resize(size)
    assert largest_difference(image, Geometry(None, crop, interpolation, fit="squash")) == 0
