"""Images are prepared as the library that trained the network prepares them, pixel for pixel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from resnet_pipe.convert.original import normalized
from resnet_pipe.convert.sources import image_processor, timm
from resnet_pipe.errors import ModelError
from resnet_pipe.preprocess.preprocessing import Preprocessing
from tests.convert.elsewhere import MEAN, PROCESSOR, STD
from tests.photographs import photograph

SIZES = [(451, 300), (300, 451), (600, 331), (241, 427), (225, 225), (101, 640)]
"""Width and height of photographs; the crop is half a pixel off the middle of some."""

VIT = {"image_processor_type": "ViTImageProcessor", "size": {"height": 224, "width": 224}}
BIT = {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 256}}
PROCESSORS: dict[str, dict[str, Any]] = {
    "microsoft/resnet-50": PROCESSOR,
    "as an old file has it": {
        "feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "crop_pct": 0.95, "resample": 2
    },
    "squashed from 384 on": {**PROCESSOR, "size": {"shortest_edge": 384}},
    "everything left out": {"image_processor_type": "ConvNextImageProcessor"},
    "a fine-tune": {**VIT, "image_mean": MEAN, "image_std": STD},
    "not square": {**VIT, "size": {"height": 160, "width": 224}, "resample": 1},
    "one number": {**VIT, "size": 192, "resample": 0},
    "values from 0 to 255": {**VIT, "do_rescale": False, "image_mean": [127.5] * 3, "image_std": [64] * 3},
    "another factor": {**VIT, "rescale_factor": 1 / 127.5, "image_mean": 1.0, "image_std": 0.5},
    "not normalised": {**VIT, "do_normalize": False},
    "cropped": {**BIT, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}},
    "cropped, with an edge of its own": {**BIT, "crop_size": 255, "resample": 1},
}  # fmt: skip


def image(size: tuple[int, int]) -> Image.Image:
    return photograph("coffee.png").resize(size)


def prepared(preprocessing: Preprocessing, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return an image as the network is given it here."""
    pixels = np.empty((1, *preprocessing.size, 3), np.uint8)
    preprocessing.geometry().apply(np.asarray(image(size)), pixels[0])
    found: NDArray[np.float32] = normalized(pixels, preprocessing.network_input)[0]
    return found


def tolerance(ours: Preprocessing, expected: NDArray[np.float32]) -> float:
    """Return how far values may be apart: for bilinear a grey level, as only what is kept is resized here."""
    if ours.interpolation == "bilinear" and ours.fit == "crop":
        return 1.01 * ours.rescale / min(ours.std)
    return 1e-5 * float(np.abs(expected).max())


@pytest.mark.parametrize("name", PROCESSORS)
def test_an_image_processor_of_transformers_is_followed(name: str, tmp_path: Path) -> None:
    from transformers import AutoImageProcessor

    config = PROCESSORS[name]
    (tmp_path / image_processor.NAME).write_text(json.dumps(config))
    theirs = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    ours = image_processor.preprocessing_of(config, "here")
    for size in SIZES:
        expected = np.asarray(theirs(image(size), return_tensors="np")["pixel_values"][0])
        assert np.abs(prepared(ours, size) - expected).max() <= tolerance(ours, expected), size


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image_processor_type", "SegformerImageProcessor"),
        ("do_resize", False),
        ("do_pad", True),
        ("resample", 4),
        ("resample", [1]),
        ("size", {"longest_edge": 224}),
        ("size", {"shortest_edge": -1}),
        ("size", "large"),
        ("rescale_offset", True),
        ("image_std", [0.0, 0.1, 0.1]),
        ("image_mean", [0.5]),
        ("crop_pct", 0),
    ],
)
def test_what_an_image_processor_does_that_cannot_be_done_here_is_refused(key: str, value: object) -> None:
    with pytest.raises(ModelError) as caught:
        image_processor.preprocessing_of({**PROCESSOR, key: value}, "preprocessor_config.json")
    assert "preprocessor_config.json" in caught.value.problem
    assert key.replace("image_", "") in caught.value.problem
    assert "--preprocess" in str(caught.value.remedy)


def test_a_square_where_the_processor_has_a_shorter_edge_is_refused_by_name() -> None:
    config = {"image_processor_type": "CLIPImageProcessor", "use_square_size": True, "size": 224}
    with pytest.raises(ModelError, match="use_square_size: True is not what"):
        image_processor.preprocessing_of(config, "preprocessor_config.json")
    told = image_processor.preprocessing_of({**config, "size": {"shortest_edge": 224}}, "here")
    assert (told.resize, told.crop) == (224, 224)


TIMM: dict[str, dict[str, Any]] = {
    "cropped": {"input_size": (3, 224, 224), "crop_pct": 0.95, "interpolation": "bicubic"},
    "all of it": {"input_size": (3, 288, 288), "crop_pct": 1.0, "interpolation": "bicubic"},
    "squashed": {"input_size": (3, 224, 224), "crop_pct": 0.9, "crop_mode": "squash"},
    "with a border": {"input_size": (3, 224, 224), "crop_pct": 1.0, "crop_mode": "border"},
    "bilinear": {"input_size": (3, 176, 176), "crop_pct": 0.875, "interpolation": "bilinear"},
    "other values": {"input_size": (3, 224, 224), "mean": (0.5, 0.4, 0.3), "std": (0.25, 0.25, 0.25)},
}


@pytest.mark.parametrize("name", TIMM)
def test_the_preparation_of_timm_is_followed(name: str) -> None:
    from timm.data import create_transform, resolve_data_config

    theirs = create_transform(**resolve_data_config(pretrained_cfg=TIMM[name]))
    ours = timm.preprocessing_of({"pretrained_cfg": TIMM[name]}, "train", Path("config.json"))
    for size in SIZES:
        expected = theirs(image(size)).numpy()
        assert np.abs(prepared(ours, size) - expected).max() <= tolerance(ours, expected), size


def test_the_size_that_weights_were_evaluated_at_is_taken_if_asked_for() -> None:
    told = {"input_size": [3, 176, 176], "test_input_size": [3, 224, 224], "test_crop_pct": 0.965}
    sizes = {
        size: timm.preprocessing_of({"pretrained_cfg": told}, size, Path("config.json"))
        for size in ("train", "test")
    }
    assert (sizes["train"].resize, sizes["train"].crop) == (201, 176)
    assert (sizes["test"].resize, sizes["test"].crop) == (232, 224)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("crop_mode", "border"),
        ("input_size", [3, 224, 160]),
        ("input_size", "large"),
        ("interpolation", "random"),
        ("crop_pct", "most"),
        ("crop_pct", float("nan")),
        ("mean", [0.5]),
        ("mean", 0.5),
        ("std", ["a", "b", "c"]),
    ],
)
def test_what_timm_does_that_cannot_be_done_here_is_refused(key: str, value: object) -> None:
    told = {"input_size": [3, 224, 224], "crop_pct": 0.9, key: value}
    with pytest.raises(ModelError) as caught:
        timm.preprocessing_of({"pretrained_cfg": told}, "train", Path("config.json"))
    assert "config.json" in caught.value.problem
    assert key in caught.value.problem or key == "input_size"  # of which no square is left
    assert "--preprocess" in str(caught.value.remedy)
