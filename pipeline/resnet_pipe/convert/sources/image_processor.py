"""The `preprocessor_config.json` of a Hugging Face repository as preprocessing of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    normalizes: bool = True


_KINDS = {
    "ConvNext": _Kind({"shortest_edge": 384}, 3, _HALVES, _HALVES, square=False),
    "ViT": _Kind({"height": 224, "width": 224}, 2, _HALVES, _HALVES),
    "Bit": _Kind({"shortest_edge": 224}, 3, *_CLIP, crops=True, square=False),
    "CLIP": _Kind({"shortest_edge": 224}, 3, *_CLIP, crops=True, square=False),
}
"""The processors that networks of ResNets come with. A size of one number is the side of a square for some
of them, and the shorter edge for the others."""
_CROP_PCT = 224 / 256
_IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
_LONGEST = 1333
"""The longer edge of DETR's images, where an old file gives the shorter one alone."""
_DETECTORS = {
    "Detr": _Kind({"shortest_edge": 800, "longest_edge": _LONGEST}, 2, *_IMAGENET, square=False),
    "RTDetr": _Kind({"height": 640, "width": 640}, 2, *_IMAGENET, normalizes=False),
}
"""Those of networks that find objects. They fill up images that share a batch, which is never needed here."""


def preprocessing_of(config: Mapping[str, Any], place: str) -> Preprocessing:
    """Return what an image processor does, as of transformers, on Pillow; `place` names it in messages.

    Raises:
        ModelError: it does something else, or what is not understood; the message names the key.
    """
    return _made(config, place, _KINDS, _geometry)


def of_detector(config: Mapping[str, Any], place: str) -> Preprocessing:
    """Return the same for the image processor of a network that finds objects."""
    return _made(config, place, _DETECTORS, _geometry_of_detector)


def _made(
    config: Mapping[str, Any],
    place: str,
    kinds: Mapping[str, _Kind],
    geometry: Callable[[Mapping[str, Any], _Kind, str, str], dict[str, Any]],
) -> Preprocessing:
    named = config.get("image_processor_type") or config.get("feature_extractor_type") or ""
    name = str(named).removesuffix("Fast").removesuffix("Pil")
    name = name.removesuffix("ImageProcessor").removesuffix("FeatureExtractor")
    kind = kinds.get(name)
    if kind is None:
        raise _refused(place, "image_processor_type", named or "missing", f"one of {', '.join(kinds)}")
    try:
        return Preprocessing(**geometry(config, kind, name, place), **_values(config, kind, place))
    except ValidationError as error:
        first: Any = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        given = f", not {first['input']!r}" if key else ""
        raise ModelError(
            f"{place}: {key or 'size'}: {first['msg'].removeprefix('Value error, ')}{given}", SAY_IT
        ) from None


def _geometry_of_detector(config: Mapping[str, Any], kind: _Kind, name: str, place: str) -> dict[str, Any]:
    del name
    if config.get("pad_size"):
        raise _refused(place, "pad_size", config["pad_size"], "none: images of one size share a batch")
    size = config.get("size", kind.size)
    if type(size) is int:
        size = {"shortest_edge": size, "longest_edge": config.get("max_size", _LONGEST)}
    found: dict[str, Any] = {"interpolation": _filter(config, kind, place)}
    if isinstance(size, Mapping):
        size = {key: side for key, side in size.items() if side is not None}
        if all(type(side) is int and side > 0 for side in size.values()):
            if size.keys() == {"height", "width"}:
                return {**found, "fit": "squash", "crop": (size["height"], size["width"])}
            if size.keys() == {"shortest_edge", "longest_edge"}:
                shorter, longest = size["shortest_edge"], size["longest_edge"]
                return {**found, "fit": "shortest", "resize": shorter, "longest": longest, "rounding": "down"}
    raise _refused(place, "size", size, "{shortest_edge, longest_edge} or {height, width}, in pixels")


def _geometry(config: Mapping[str, Any], kind: _Kind, name: str, place: str) -> dict[str, Any]:
    if config.get("do_pad"):
        raise _refused(place, "do_pad", True, "false")
    found: dict[str, Any] = {"interpolation": _filter(config, kind, place)}
    given = config.get("size", kind.size)
    if config.get("use_square_size") and type(given) is int and not kind.square:
        raise _refused(place, "use_square_size", True, "false, or a size of {height, width}")
    size = _size(given, kind.square, "size", place)
    edge = size.get("shortest_edge")
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


def _filter(config: Mapping[str, Any], kind: _Kind, place: str) -> Interpolation:
    if not config.get("do_resize", True):
        raise _refused(place, "do_resize", False, "true: a network's images do not have any size here")
    resample = config.get("resample", kind.resample)
    if type(resample) is not int or resample not in _FILTERS:
        filters = ", ".join(f"{number} ({text})" for number, text in _FILTERS.items())
        raise _refused(place, "resample", resample, f"one of {filters}")
    return _FILTERS[resample]


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
    if not config.get("do_normalize", kind.normalizes):
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
