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

from resnet_pipe.preprocess.geometry import Fit, Geometry, Mode, sides
from resnet_pipe.preprocess.network_input import NetworkInput
from resnet_pipe.preprocess.resizing import Interpolation, Rounding

_LARGEST = 8192
_Side = Annotated[int, Field(ge=1, le=_LARGEST)]
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


_size = partial(_checked, count=2, least=1, most=_LARGEST, expected="pixels, or [height, width]")
_colour = partial(_checked, count=3, least=0, most=255, expected="a grey level, or [red, green, blue]")
_SizeSchema = _Side | Annotated[list[_Side], Field(min_length=2, max_length=2)]
_ColourSchema = _Level | Annotated[list[_Level], Field(min_length=3, max_length=3)]

Resize = Annotated[int | tuple[int, int], BeforeValidator(_size, json_schema_input_type=_SizeSchema)]
Crop = Annotated[Resize, AfterValidator(_single)]
PadValue = Annotated[
    int | tuple[int, int, int],
    BeforeValidator(_colour, json_schema_input_type=_ColourSchema),
    AfterValidator(_single),
]
MEANINGS = {
    "resize": "for fit: crop, the size after resizing, in pixels: the shorter side, or [height, width]",
    "crop": "size of the network's input, in pixels: the side of a square, or [height, width]",
    "fit": "crop: resize, then crop the centre; squash: resize to crop; pad: resize to fit inside crop",
    "rounding": "of a crop half a pixel off the middle: even, as in torchvision, or down, as in transformers",
    "interpolation": "the filter of exact mode, as Pillow has it",
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
_USUAL: dict[str, Any] = {"rescale": BYTE, "rounding": "even"}
"""Values of keys that need not be told."""
Means = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=3, max_length=3)]
Deviations = Annotated[
    list[Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(min_length=3, max_length=3)
]


class Preprocessing(BaseModel):
    """How an image becomes the network's input. Values that are in `conflict` are invalid.

    `Geometry` resizes. The engine then computes (value * rescale - mean) / std per channel.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    resize: Annotated[Resize | None, Field(description=MEANINGS["resize"])] = None
    crop: Annotated[Crop, Field(description=MEANINGS["crop"])]
    fit: Annotated[Fit, Field(description=MEANINGS["fit"])] = "crop"
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
        """Height and width of the network's input, pixels."""
        return sides(self.crop)

    @property
    def network_input(self) -> NetworkInput:
        """The part that the engine does: it divides by 255, so mean and std take in what else rescales."""
        mean, std = self.mean, self.std
        if self.rescale != BYTE:
            mean, std = ([value / (255 * self.rescale) for value in one] for one in (mean, std))
        return NetworkInput(self.size, tuple(mean), tuple(std), self.color)

    def geometry(self, mode: Mode = "exact") -> Geometry:
        """Return the part that the workers do."""
        return Geometry(
            self.resize, self.crop, self.interpolation, mode, self.fit, self.pad_value, self.rounding
        )

    def overridden(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values by key, with a job's; if these change `fit`, keys that only apply to ours go."""
        own = self.model_dump(exclude_none=True)
        if values.get("fit", self.fit) != self.fit:
            own = {key: value for key, value in own.items() if key not in ("resize", "pad_value")}
        return {**own, **values}

    def told(self) -> dict[str, Any]:
        """Return it as JSON, without the keys that do not apply, as a job or a recipe may contain it."""
        unused = {"crop": {"fit", "pad_value"}, "squash": {"resize", "pad_value"}, "pad": {"resize"}}
        usual = {key for key, value in _USUAL.items() if getattr(self, key) == value}
        return self.model_dump(mode="json", exclude=unused[self.fit] | usual)

    def describe(self) -> str:
        """Return it as the value of the key `preprocess` in YAML."""
        told = self.told().items()
        values = (f"{key}: {value if isinstance(value, str) else json.dumps(value)}" for key, value in told)
        return f"{{{', '.join(values)}}}"


def conflict(values: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return a conflict between preprocessing values: a key, and what is wrong with its value.

    Each value is valid by itself, `crop` is there, and missing keys have their defaults.
    """
    resize, crop, fit = values.get("resize"), values["crop"], values.get("fit", "crop")
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


def first_problem(error: ValidationError) -> str:
    """Return the first of the problems that pydantic has found: where, if it is at one place, and what."""
    first: Any = error.errors(include_url=False)[0]
    place, what = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    return f"{place}: {what}" if place else what


def told(size: int | tuple[int, int]) -> str:
    """Return a size as written in a job, such as `224` or `[128, 64]`."""
    return str(size) if isinstance(size, int) else str(list(size))
