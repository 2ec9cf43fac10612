"""Images of many sizes, for networks that take any: pixels of torchvision's or of transformers' detectors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from resnet_pipe.errors import SourceError
from resnet_pipe.infer.batches import Normalizer
from resnet_pipe.preprocess.geometry import Geometry, Mode
from resnet_pipe.preprocess.network_input import Placement
from resnet_pipe.preprocess.preprocessing import Preprocessing
from tests.networks import MEAN, STD
from tests.photographs import NAMES, photograph

KEYS: dict[str, Any] = {
    "fit": "shortest", "resize": 800, "longest": 1333, "multiple": 32, "interpolation": "linear",
    "mean": MEAN, "std": STD,
}  # fmt: skip
AS_DETR: dict[str, Any] = {**KEYS, "interpolation": "bilinear", "rounding": "down", "multiple": 1}
"""How transformers prepares images for DETR."""
SHAPES = {
    "astronaut.png": (512, 512),
    "chelsea.png": (451, 300),
    "rocket.jpg": (360, 640),
    "retina.jpg": (1500, 411),
}
"""Photographs, and the width and height that they are brought to first."""


def transform(**changes: int) -> Any:  # noqa: ANN401 - a module of torch
    """Return torchvision's, as its detectors have it."""
    detection = pytest.importorskip("torchvision.models.detection.transform")
    keys = {"resize": 800, "longest": 1333, "multiple": 32, **changes}
    made = detection.GeneralizedRCNNTransform(
        keys["resize"], keys["longest"], MEAN, STD, size_divisible=keys["multiple"]
    )
    return made.eval()


def expected(frame: NDArray[np.uint8], **changes: int) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """Return what torchvision makes of an image: the network's input, and height and width of the image."""
    torch = pytest.importorskip("torch")
    image = torch.from_numpy(frame.transpose(2, 0, 1).copy()).float() / 255
    found, _ = transform(**changes)([image])
    return found.tensors.numpy(), found.image_sizes[0]


def made(frame: NDArray[np.uint8], preprocessing: Preprocessing, mode: Mode = "exact") -> NDArray[Any]:
    """Return what a worker makes of a frame."""
    geometry = preprocessing.geometry(mode)
    size = geometry.size_of(frame.shape[1], frame.shape[0])
    out: NDArray[Any] = np.full((*size, 3), 77, np.float32 if geometry.floats else np.uint8)
    geometry.apply(frame, out)
    return out


def normalized(frame: NDArray[np.uint8], preprocessing: Preprocessing, mode: Mode = "exact") -> NDArray[Any]:
    normalizer = Normalizer(preprocessing.network_input_in(mode), 1)
    return normalizer.fill(made(frame, preprocessing, mode)[np.newaxis])


@pytest.mark.parametrize("keys", [(800, 1333, 32), (320, 640, 1), (600, 1000, 16), (511, 511, 7)])
def test_sizes_are_torchvisions_for_every_shape(keys: tuple[int, int, int]) -> None:
    """Torchvision works in double precision and rounds down: 800 / 799 * 799 may be 799."""
    functional = pytest.importorskip("torch.nn.functional")
    torch = pytest.importorskip("torch")
    resize, longest, multiple = keys
    geometry = Geometry(resize, None, fit="shortest", longest=longest, multiple=multiple)
    rng, most_pixels = np.random.default_rng(resize), np.prod(geometry.size)
    sides = np.concatenate(
        [rng.integers(1, 5000, (120, 2)), rng.integers(1, 60, (30, 2)), [[799, 799], [1, 9]]]
    )
    for width, height in sides.tolist():
        scale = min(resize / min(width, height), longest / max(width, height))
        if int(min(width, height) * scale):
            image = torch.zeros(1).expand(1, 1, height, width)  # takes no memory
            found = functional.interpolate(
                image, scale_factor=scale, mode="nearest", recompute_scale_factor=True
            )
            inner = tuple(found.shape[:1:-1])
        else:
            inner = tuple(max(1, int(side * scale)) for side in (width, height))
        placement = geometry.placement(width, height)
        assert placement == Placement(width, height, 0, 0, *inner)
        down, across = geometry.size_of(width, height)
        assert (across, down) == tuple(-(-side // multiple) * multiple for side in inner)
        assert across * down <= most_pixels


@pytest.mark.parametrize("keys", [(800, 1333), (64, 1000), (511, 511), (600, 1000)])
def test_sizes_are_those_of_transformers_if_rounding_is_down(keys: tuple[int, int]) -> None:
    transforms = pytest.importorskip("transformers.image_transforms")
    resize, longest = keys
    geometry = Geometry(resize, None, fit="shortest", longest=longest, rounding="down")
    rng, most_pixels, others = np.random.default_rng(resize), np.prod(geometry.size), 0
    sides = np.concatenate(
        [rng.integers(1, 5000, (400, 2)), rng.integers(1, 60, (100, 2)), [[resize, longest], [1, 9]]]
    )
    for width, height in sides.tolist():
        down, across = transforms.get_size_with_aspect_ratio((height, width), resize, longest)
        wanted = Placement(width, height, 0, 0, max(1, across), max(1, down))
        assert geometry.placement(width, height) == wanted
        assert down * across <= most_pixels
        others += replace(geometry, rounding="even").placement(width, height) != wanted
    assert others > 50, "the other rule is another one"


@pytest.mark.parametrize("name", NAMES)
def test_pixels_are_those_of_transformers_for_pillows_filters(name: str) -> None:
    """Bit for bit those of its processor on Pillow, within a level those of the one on torchvision."""
    transformers = pytest.importorskip("transformers")
    photo = photograph(name).resize(SHAPES.get(name, (401, 303)))
    for size, filter_, number in ((800, "bilinear", 2), (200, "bicubic", 3), (200, "bilinear", 2)):
        keys = {**AS_DETR, "resize": size, "interpolation": filter_}
        found = made(np.asarray(photo), Preprocessing(**keys))
        assert found.dtype == np.uint8
        for kind, most in ("DetrImageProcessorPil", 0), ("DetrImageProcessor", 1):
            processor = getattr(transformers, kind)(
                size={"shortest_edge": size, "longest_edge": 1333},
                resample=number,
                do_normalize=False,
                do_rescale=False,
            )
            wanted = processor(photo, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
            assert found.shape == wanted.shape
            assert np.abs(found.astype(int) - wanted).max() <= most, (kind, filter_)


@pytest.mark.parametrize("name", NAMES)
def test_fast_is_near_pillows_filter(name: str) -> None:
    frame = np.asarray(photograph(name))
    keys = AS_DETR | {"resize": 200, "longest": 260}
    exact, fast = (made(frame, Preprocessing(**keys), mode).astype(int) for mode in ("exact", "fast"))
    assert np.abs(exact - fast).mean() < 1.5


@pytest.mark.parametrize("name", SHAPES)
def test_pixels_are_torchvisions(name: str) -> None:
    frame = np.asarray(photograph(name).resize(SHAPES[name]))
    found, (wanted, (height, width)) = normalized(frame, Preprocessing(**KEYS)), expected(frame)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 1e-4
    margins = found.copy()
    margins[..., :height, :width] = 0
    assert np.abs(margins).max() < 1e-6


def test_pixels_are_torchvisions_for_shapes_that_no_camera_makes() -> None:
    rng = np.random.default_rng(1)
    for height, width in (5, 300), (300, 5), (1, 3), (33, 33), (700, 701), (1, 1):
        frame = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        found = normalized(frame, Preprocessing(**{**KEYS, "resize": 64, "longest": 160}))
        wanted, _ = expected(frame, resize=64, longest=160)
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() < 1e-4, (height, width)


def test_a_large_photograph_is_torchvisions_too() -> None:
    """Places between pixels are large numbers there: float32 has few digits after the point."""
    frame = np.random.default_rng(2).integers(0, 256, (1999, 3007, 3), dtype=np.uint8)
    small = {**KEYS, "resize": 320, "longest": 500}
    assert (
        np.abs(normalized(frame, Preprocessing(**small)) - expected(frame, resize=320, longest=500)[0]).max()
        < 1e-4
    )


@pytest.mark.parametrize("name", NAMES)
def test_fast_is_near_exact(name: str) -> None:
    frame = np.asarray(photograph(name))
    exact, fast = (made(frame, Preprocessing(**KEYS), mode) for mode in ("exact", "fast"))
    assert fast.dtype == np.uint8
    assert fast.shape == exact.shape
    assert np.abs(fast - exact).max() <= 1.01


def test_fast_takes_a_frame_that_a_reader_has_shrunk() -> None:
    geometry = Preprocessing(**{**KEYS, "resize": 64, "longest": 160}).geometry("fast")
    assert geometry.min_side == 72
    photo = photograph().resize((601, 401))
    whole, shrunk = np.asarray(photo), np.asarray(photo.resize((301, 201), Image.Resampling.BOX))
    placement = geometry.placement(601, 401)
    size = geometry.size_of(601, 401)
    one, other = np.zeros((2, *size, 3), np.uint8)
    geometry.apply(whole, one)
    geometry.apply(shrunk, other, (300.5, 200.5), placement)
    assert np.abs(one.astype(int) - other).mean() < 8
    geometry.apply(shrunk[:200, :300], other, None, placement)
    assert np.abs(one.astype(int) - other).mean() < 8


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("rescale", [None, 1.0])
def test_margins_become_zero_whatever_the_network_wants(color: str, rescale: float | None) -> None:
    scale = 255 if rescale else 1
    keys = {
        **(KEYS | {"resize": 790}),
        "mean": [value * scale for value in MEAN],
        "std": [value * scale for value in STD],
        "color": color,
    }
    preprocessing = Preprocessing(**(keys | ({"rescale": rescale} if rescale else {})))
    found = normalized(np.full((40, 25, 3), 9, np.uint8), preprocessing)
    _, _, _, _, width, height = preprocessing.geometry().placement(25, 40)
    assert np.abs(found[..., height:, :]).max(initial=0) < 1e-6
    assert width < found.shape[3]
    assert np.abs(found[..., :, width:]).max() < 1e-6
    assert np.abs(found[..., :height, :width]).min() > 0.5


def test_a_frame_that_is_no_picture_is_refused() -> None:
    geometry, out = Preprocessing(**KEYS).geometry(), np.zeros((832, 1344, 3), np.float32)
    for frame in np.zeros((0, 5, 3), np.uint8), np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3), np.float32):
        with pytest.raises(SourceError, match="is not RGB"):
            geometry.apply(frame, out)  # type: ignore[arg-type]


PLACED = {
    (100, 50): {
        Geometry(64, 48): Placement(100, 50, -40, -8, 128, 64),
        Geometry((60, 80), (48, 64)): Placement(100, 50, -8, -6, 80, 60),
        Geometry(None, (48, 64), fit="squash"): Placement(100, 50, 0, 0, 64, 48),
        Geometry(None, (48, 64), fit="pad"): Placement(100, 50, 0, 8, 64, 32),
        Geometry(64, None, fit="shortest", longest=100, multiple=32): Placement(100, 50, 0, 0, 100, 50),
    },
    (31, 77): {
        Geometry(64, 48): Placement(31, 77, -8, -55, 64, 158),
        Geometry(64, 47, rounding="down"): Placement(31, 77, -8, -55, 64, 158),
        Geometry(None, 48, fit="squash"): Placement(31, 77, 0, 0, 48, 48),
        Geometry(None, 48, fit="pad"): Placement(31, 77, 14, 0, 19, 48),
        Geometry(64, None, fit="shortest", longest=100): Placement(31, 77, 0, 0, 40, 100),
    },
}


@pytest.mark.parametrize("size", PLACED)
def test_a_placement_says_where_the_image_lies_whatever_the_fit(size: tuple[int, int]) -> None:
    for geometry, expected in PLACED[size].items():
        assert geometry.placement(*size) == expected


MARKED = [
    Geometry(96, 64),
    Geometry((96, 80), (64, 48)),
    Geometry(None, (64, 48), fit="squash"),
    Geometry(None, (64, 48), fit="pad"),
    Geometry(64, None, fit="shortest", longest=100, multiple=32),
]


@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize("geometry", MARKED, ids=lambda geometry: geometry.fit)
def test_what_is_drawn_on_an_image_is_where_its_placement_says(geometry: Geometry, mode: Mode) -> None:
    """A white square in the middle of a black image, whose edges are found again in the network's input."""
    geometry = replace(geometry, mode=mode)
    width, height = 300, 220
    frame = np.zeros((height, width, 3), np.uint8)
    frame[100:130, 140:180] = 255
    out = np.zeros((*geometry.size_of(width, height), 3), np.float32 if geometry.floats else np.uint8)
    geometry.apply(frame, out)
    place = geometry.placement(width, height)
    seen = out[..., 0].astype(float) / 255
    rows, columns = seen.max(axis=1), seen.max(axis=0)
    for edges, side, inner, start in (
        ((100, 130), height, place.inner_height, place.top),
        ((140, 180), width, place.inner_width, place.left),
    ):
        lit = np.flatnonzero((rows if side == height else columns) > 0.5)
        low, high = (edge * inner / side + start for edge in edges)
        assert abs(lit[0] - low) <= 1.5
        assert abs(lit[-1] + 1 - high) <= 1.5


REFUSED: dict[str, dict[str, Any]] = {
    "resize: with fit: shortest it is the length": {"resize": [800, 900]},
    "resize: with fit: shortest it is the length of": {"resize": None},
    "longest: required for fit: shortest": {"longest": None},
    "longest: 700 is smaller than resize, 800": {"longest": 700},
    "crop: with fit: shortest the size is that of each image": {"crop": 224},
    "interpolation: linear is for fit: squash, pad and shortest": {
        "fit": "crop",
        "crop": 224,
        "longest": None,
        "multiple": 1,
    },
    "pad_value: with fit: shortest the margins have the mean": {"pad_value": 114},
    "longest: only fit: shortest has it, and fit is squash": {"fit": "squash", "crop": 224, "resize": None},
    "multiple: only fit: shortest has it": {"fit": "pad", "crop": 24, "resize": None, "longest": None},
    "crop: required": {"fit": "pad", "resize": None},
}


@pytest.mark.parametrize("text", REFUSED)
def test_keys_that_do_not_go_together_are_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Preprocessing(**(KEYS | REFUSED[text]))


def test_it_is_told_without_what_does_not_apply() -> None:
    told = Preprocessing(**KEYS).told()
    assert told.keys() == {*KEYS, "color"}
    for keys in KEYS, AS_DETR:
        assert Preprocessing(**Preprocessing(**keys).told()) == Preprocessing(**keys)
    assert "multiple" not in Preprocessing(**(KEYS | {"multiple": 1})).told()
    assert not {"longest", "multiple"} & Preprocessing(fit="pad", crop=64, mean=MEAN, std=STD).told().keys()


def test_an_other_fit_of_a_job_drops_what_only_applies_to_the_sidecars() -> None:
    shortest, squash = (
        Preprocessing(**KEYS),
        Preprocessing(fit="squash", crop=64, mean=MEAN, std=STD, interpolation="bicubic"),
    )
    assert Preprocessing(**shortest.overridden({"fit": "squash", "crop": 64})).size == (64, 64)
    changed = Preprocessing(**squash.overridden({"fit": "shortest", "resize": 64, "longest": 99}))
    assert (changed.crop, changed.interpolation, changed.size) == (None, "bilinear", (64, 99))
    assert Preprocessing(**shortest.overridden({"resize": 400})).size == (416, 1344)
