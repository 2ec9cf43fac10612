"""The `preprocessor_config.json` of a Hugging Face repository as preprocessing of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from resnet_pipe.errors import ModelError
from resnet_pipe.preprocess.preprocessing import BYTE, Preprocessing
from resnet_pipe.preprocess.resizing import Interpolation

NAME = "preprocessor_config.json"
SAY_IT = "say it yourself: --preprocess '{resize: 256, crop: 224, mean: [...], std: [...]}'"
_FILTERS: dict[int, Interpolation] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of its filters."""
_WARPED_FROM = 384
"""ConvNextImageProcessor crops below this size, and squashes from it on."""
_HALVES = [0.5, 0.5, 0.5]
_CLIP = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])


@dataclass(frozen=True)
class _Kind:
    """What an image processor does where its file says nothing: transformers' own defaults."""

    size: Mapping[str, int]
    resample: int
    mean: list[float]
    std: list[float]
    crops: bool = False
    square: bool = True


_KINDS = {
    "ConvNext": _Kind({"shortest_edge": 384}, 3, _HALVES, _HALVES, square=False),
    "ViT": _Kind({"height": 224, "width": 224}, 2, _HALVES, _HALVES),
    "Bit": _Kind({"shortest_edge": 224}, 3, *_CLIP, crops=True, square=False),
    "CLIP": _Kind({"shortest_edge": 224}, 3, *_CLIP, crops=True, square=False),
}
"""The processors that networks of ResNets come with. A size of one number is the side of a square for some
of them, and the shorter edge for the others."""
_CROP_PCT = 224 / 256


def preprocessing_of(config: Mapping[str, Any], place: str) -> Preprocessing:
    """Return what an image processor does, as of transformers, on Pillow; `place` names it in messages.

    Raises:
        ModelError: it does something else, or what is not understood; the message names the key.
    """
    named = config.get("image_processor_type") or config.get("feature_extractor_type") or ""
    name = str(named).removesuffix("Fast").removesuffix("ImageProcessor").removesuffix("FeatureExtractor")
    kind = _KINDS.get(name)
    if kind is None:
        raise _refused(place, "image_processor_type", named or "missing", f"one of {', '.join(_KINDS)}")
    try:
        found = {**_geometry(config, kind, name, place), **_values(config, kind, place)}
        return Preprocessing(**found)
    except ValidationError as error:
        first: Any = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        given = f", not {first['input']!r}" if key else ""
        raise ModelError(
            f"{place}: {key or 'size'}: {first['msg'].removeprefix('Value error, ')}{given}", SAY_IT
        ) from None


def _geometry(config: Mapping[str, Any], kind: _Kind, name: str, place: str) -> dict[str, Any]:
    if not config.get("do_resize", True):
        raise _refused(place, "do_resize", False, "true: networks have one size of images here")
    if config.get("do_pad"):
        raise _refused(place, "do_pad", True, "false")
    resample = config.get("resample", kind.resample)
    if type(resample) is not int or resample not in _FILTERS:
        filters = ", ".join(f"{number} ({text})" for number, text in _FILTERS.items())
        raise _refused(place, "resample", resample, f"one of {filters}")
    given = config.get("size", kind.size)
    if config.get("use_square_size") and type(given) is int and not kind.square:
        raise _refused(place, "use_square_size", True, "false, or a size of {height, width}")
    size = _size(given, kind.square, "size", place)
    edge = size.get("shortest_edge")
    found: dict[str, Any] = {"interpolation": _FILTERS[resample]}
    if name == "ConvNext":
        if edge is None:
            raise _refused(place, "size", dict(size), "a shortest_edge")
        if config.get("do_center_crop"):
            raise _refused(place, "do_center_crop", True, "false: this processor crops by crop_pct")
        if edge >= _WARPED_FROM:
            return {**found, "fit": "squash", "crop": edge}
        part = config.get("crop_pct", _CROP_PCT)
        if not (isinstance(part, int | float) and 0 < part <= 1):
            raise _refused(place, "crop_pct", part, "a share from 0 to 1")
        return {**found, "resize": int(edge / part), "crop": edge, "rounding": "down"}
    resize = edge if edge is not None else (size["height"], size["width"])
    if config.get("do_center_crop", kind.crops):
        crop = _size(config.get("crop_size", {"height": 224, "width": 224}), True, "crop_size", place)
        if "shortest_edge" in crop:
            raise _refused(place, "crop_size", dict(crop), "a height and a width")
        return {**found, "resize": resize, "crop": (crop["height"], crop["width"]), "rounding": "down"}
    if edge is not None:
        raise _refused(place, "size", dict(size), "a height and a width, or do_center_crop: true")
    return {**found, "fit": "squash", "crop": resize}


def _size(value: Any, square: bool, key: str, place: str) -> Mapping[str, int]:  # noqa: ANN401
    """Return a size as {height, width} or {shortest_edge}; old files give one number, or a pair."""
    if type(value) is int:
        value = {"height": value, "width": value} if square else {"shortest_edge": value}
    elif isinstance(value, list | tuple) and len(value) == 2:
        value = {"height": value[0], "width": value[1]}
    if isinstance(value, Mapping):
        given = {name: side for name, side in value.items() if side is not None}
        if given.keys() in ({"height", "width"}, {"shortest_edge"}) and all(
            type(side) is int and side > 0 for side in given.values()
        ):
            return given
    raise _refused(place, key, value, "{height, width} or {shortest_edge}, in pixels")


def _values(config: Mapping[str, Any], kind: _Kind, place: str) -> dict[str, Any]:
    """Return what becomes of the values of pixels."""
    if config.get("rescale_offset"):
        raise _refused(place, "rescale_offset", config["rescale_offset"], "false")
    rescale = config.get("rescale_factor", BYTE) if config.get("do_rescale", True) else 1.0
    if not config.get("do_normalize", True):
        return {"rescale": rescale, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
    mean, std = (
        [value] * 3 if isinstance(value, int | float) else value
        for value in (config.get("image_mean", kind.mean), config.get("image_std", kind.std))
    )
    return {"rescale": rescale, "mean": mean, "std": std}


def _refused(place: str, key: str, value: object, wanted: str) -> ModelError:
    return ModelError(
        f"{place}: {key}: {value!r} is not what can be done here; expected {wanted}",
        SAY_IT,
    )
