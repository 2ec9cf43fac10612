"""The preprocessing keys of sidecars, recipes and jobs: how an image becomes the network's input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from resnet_pipe.preprocess import shortest
from resnet_pipe.preprocess.geometry import Fit, Geometry, Mode, sides
from resnet_pipe.preprocess.network_input import NetworkInput
from resnet_pipe.preprocess.resizing import Interpolation, Rounding

LARGEST = 8192
"""Of the sides of an image, pixels."""
_Side = Annotated[int, Field(ge=1, le=LARGEST)]
_Level = Annotated[int, Field(ge=0, le=255)]


def _checked(value: Any, count: int, least: int, most: int, expected: str) -> Any:  # noqa: ANN401
    """Return a number, or a tuple of `count` of them, if whatever the document holds is that."""
    members = value if isinstance(value, list | tuple) and len(value) == count else [value]
    if not all(type(member) is int and least <= member <= most for member in members):
        raise ValueError(f"expected {expected}; each from {least} to {most}")
    return value if members == [value] else tuple(members)


def _single(value: Any) -> Any:  # noqa: ANN401
    """Return equal numbers as one, so that both notations of a square, or of a grey, are equal."""
    return value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value


_size = partial(_checked, count=2, least=1, most=LARGEST, expected="pixels, or [height, width]")
_colour = partial(_checked, count=3, least=0, most=255, expected="a grey level, or [red, green, blue]")
_SizeSchema = _Side | Annotated[list[_Side], Field(min_length=2, max_length=2)]
_ColourSchema = _Level | Annotated[list[_Level], Field(min_length=3, max_length=3)]

Resize = Annotated[int | tuple[int, int], BeforeValidator(_size, json_schema_input_type=_SizeSchema)]
Crop = Annotated[Resize, AfterValidator(_single)]
Longest = Annotated[int, Field(ge=1, le=LARGEST)]
Multiple = Annotated[int, Field(ge=1, le=1024)]
PadValue = Annotated[
    int | tuple[int, int, int],
    BeforeValidator(_colour, json_schema_input_type=_ColourSchema),
    AfterValidator(_single),
]
MEANINGS = {
    "resize": "the size after resizing, in pixels: the shorter side, or for fit: crop [height, width]",
    "crop": "size of the network's input, in pixels: the side of a square, or [height, width]",
    "fit": "crop: resize, then crop the centre; squash: resize to crop; pad: resize to fit inside crop; "
    "shortest: resize, for a network that takes any size",
    "longest": "for fit: shortest, the most that the longer side becomes, in pixels",
    "multiple": "for fit: shortest, both sides are filled up to a multiple of this; 1: they are not",
    "rounding": "of a crop half a pixel off the middle, and of the sizes of shortest: even, as in "
    "torchvision, or down, as in transformers",
    "interpolation": "the filter of exact mode, as Pillow has it; linear: OpenCV's, for squash and pad, and "
    "for shortest torch's, which gives float32",
    "rescale": "what pixel values of 0 to 255 are multiplied by, before mean and std; 1/255 if not given",
    "mean": "per channel, for rescaled values, in the order of `color`",
    "std": "per channel, for rescaled values, in the order of `color`",
    "color": "channel order of the network's input",
    "pad_value": "colour of the margins with fit: pad, 0 to 255: a grey level, or [red, green, blue]",
}
"""Descriptions of the keys that sidecars, recipes and jobs share."""
BYTE = 1 / 255
"""What brings a pixel's values to 0..1: nearly all networks are trained with that."""
Factor = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_USUAL: dict[str, Any] = {"rescale": BYTE, "rounding": "even", "multiple": 1}
"""Values of keys that need not be told."""
_UNUSED: dict[Fit, set[str]] = {
    "crop": {"fit", "pad_value", "longest", "multiple"},
    "squash": {"resize", "pad_value", "longest", "multiple"},
    "pad": {"resize", "longest", "multiple"},
    "shortest": {"crop", "pad_value"},
}
"""Keys that do not apply to a fit, or are the default."""
Means = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=3, max_length=3)]
Deviations = Annotated[
    list[Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(min_length=3, max_length=3)
]


class Preprocessing(BaseModel):
    """How an image becomes the network's input. Values that are in `conflict` are invalid.

    `Geometry` resizes. The engine then computes (value * rescale - mean) / std per channel.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    resize: Annotated[Resize | None, Field(description=MEANINGS["resize"])] = None
    crop: Annotated[Crop | None, Field(description=MEANINGS["crop"])] = None
    fit: Annotated[Fit, Field(description=MEANINGS["fit"])] = "crop"
    longest: Annotated[Longest | None, Field(description=MEANINGS["longest"])] = None
    multiple: Annotated[Multiple, Field(description=MEANINGS["multiple"])] = 1
    pad_value: Annotated[PadValue, Field(description=MEANINGS["pad_value"])] = 0
    rounding: Annotated[Rounding, Field(description=MEANINGS["rounding"])] = "even"
    interpolation: Annotated[Interpolation, Field(description=MEANINGS["interpolation"])] = "bilinear"
    rescale: Annotated[Factor, Field(description=MEANINGS["rescale"])] = BYTE
    mean: Annotated[Means, Field(description=MEANINGS["mean"])]
    std: Annotated[Deviations, Field(description=MEANINGS["std"])]
    color: Annotated[Literal["rgb", "bgr"], Field(description=MEANINGS["color"])] = "rgb"

    @model_validator(mode="after")
    def _agree(self) -> Preprocessing:
        found = conflict(self.__dict__)
        if found is not None:
            raise ValueError(": ".join(found))
        return self

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the network's input, pixels; if they vary, none has more pixels than these."""
        return self.geometry().size

    @property
    def varies(self) -> bool:
        """Whether images of different shapes have different sizes."""
        return self.fit == "shortest"

    @property
    def network_input(self) -> NetworkInput:
        """The part that the engine does, in exact mode; see `network_input_in`."""
        return self.network_input_in("exact")

    def network_input_in(self, mode: Mode) -> NetworkInput:
        """Return the part that the engine does. It divides by 255, and mean and std do the rest."""
        mean, std = ([value / self._divisor for value in one] for one in (self.mean, self.std))
        made = self.geometry(mode)
        return NetworkInput(made.size, tuple(mean), tuple(std), self.color, made.other, made.floats)

    @property
    def _divisor(self) -> float:
        """What mean and std are divided by, for values that have been divided by 255."""
        return 1.0 if self.rescale == BYTE else 255 * self.rescale

    def geometry(self, mode: Mode = "exact") -> Geometry:
        """Return the part that the workers do."""
        mean = [value / self._divisor for value in self.mean][:: 1 if self.color == "rgb" else -1]
        return Geometry(
            resize=self.resize,
            crop=self.crop,
            interpolation=self.interpolation,
            mode=mode,
            fit=self.fit,
            pad_value=self.pad_value,
            rounding=self.rounding,
            longest=self.longest,
            multiple=self.multiple,
            margin=shortest.margin(tuple(mean)) if self.varies else (0.0, 0.0, 0.0),
        )

    def at_one_size(self, size: tuple[int, int]) -> Preprocessing:
        """Return it for images of one size (H, W), if it has many: they are squashed, and else the same."""
        if self.fit != "shortest":
            return self
        kept = {name: getattr(self, name) for name in ("rescale", "mean", "std", "color")}
        return Preprocessing(crop=size, fit="squash", **kept)

    def overridden(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values by key, with a job's; if these change `fit`, keys that only apply to ours go."""
        own = self.model_dump(exclude_none=True)
        fit = values.get("fit", self.fit)
        if fit != self.fit:
            gone = {"resize", "pad_value", "longest", "multiple"}
            gone |= {"crop", "interpolation"} if fit == "shortest" else set()
            own = {key: value for key, value in own.items() if key not in gone}
        return {**own, **values}

    def told(self) -> dict[str, Any]:
        """Return it as JSON, without the keys that do not apply, as a job or a recipe may contain it."""
        usual = {key for key, value in _USUAL.items() if getattr(self, key) == value}
        return self.model_dump(mode="json", exclude=_UNUSED[self.fit] | usual)

    def describe(self) -> str:
        """Return it as the value of the key `preprocess` in YAML."""
        told = self.told().items()
        values = (f"{key}: {value if isinstance(value, str) else json.dumps(value)}" for key, value in told)
        return f"{{{', '.join(values)}}}"


def conflict(values: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return a conflict between preprocessing values: a key, and what is wrong with its value.

    Each value is valid by itself, `crop` is there, and missing keys have their defaults.
    """
    resize, crop, fit = values.get("resize"), values.get("crop"), values.get("fit", "crop")
    if fit == "shortest":
        return _conflict_of_shortest(values)
    if crop is None:
        return "crop", "required"
    for key, none in ("longest", None), ("multiple", 1):
        if values.get(key, none) != none:
            return key, f"only fit: shortest has it, and fit is {fit}"
    if fit == "crop" and values.get("interpolation") == "linear":
        return "interpolation", "linear is for fit: squash, pad and shortest"
    if values.get("pad_value", 0) != 0 and fit != "pad":
        return "pad_value", f"only fit: pad has margins, and fit is {fit}"
    if fit != "crop":
        if resize is None:
            return None
        return "resize", f"with fit: {fit} the image is resized to crop; remove resize, or write fit: crop"
    if resize is None:
        return "resize", "required for fit: crop; alternatively, write fit: squash or fit: pad"
    (height, width), (most_down, most_across) = sides(crop), sides(resize)
    if height <= most_down and width <= most_across:
        return None
    least: int | tuple[int, int] = max(height, most_down), max(width, most_across)
    text = f"{told(crop)} is larger than resize, {told(resize)}"
    if isinstance(resize, int):
        least = max(height, width)
        text += ", the size of a resized square image"
    return "crop", f"{text}; write resize: {told(least)}, or a smaller crop"


def _conflict_of_shortest(values: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return a conflict between values with `fit: shortest`, as `conflict` does."""
    resize, longest = values.get("resize"), values.get("longest")
    if values.get("crop") is not None:
        return "crop", "with fit: shortest the size is that of each image; remove crop, or write fit: pad"
    if not isinstance(resize, int):
        return "resize", "with fit: shortest it is the length of the shorter side: one number"
    if longest is None:
        return "longest", "required for fit: shortest: the most that the longer side becomes"
    if longest < resize:
        return "longest", f"{longest} is smaller than resize, {resize}, the shorter side"
    if values.get("pad_value", 0) != 0:
        return "pad_value", "with fit: shortest the margins have the mean as their colour; remove it"
    return None


def first_problem(error: ValidationError) -> str:
    """Return the first of the problems that pydantic has found: where, if it is at one place, and what."""
    first: Any = error.errors(include_url=False)[0]
    place, what = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    return f"{place}: {what}" if place else what


def told(size: int | tuple[int, int]) -> str:
    """Return a size as written in a job, such as `224` or `[128, 64]`."""
    return str(size) if isinstance(size, int) else str(list(size))
