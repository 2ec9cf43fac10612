"""The `preprocess.json` that exports of timm's networks come with: a list of torchvision's transforms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from resnet_pipe.convert.sources.image_processor import SAY_IT
from resnet_pipe.errors import ModelError
from resnet_pipe.preprocess.preprocessing import Preprocessing, first_problem

NAME = "preprocess.json"
_SETS = ("test", "val", "stages")
"""Keys under which a file may have several lists of steps, the first that is there: as timm evaluates with
the size `test`, and with the other."""
_KEYS = {
    "resize": {"type", "size", "interpolation", "max_size", "antialias"},
    "center_crop": {"type", "size"},
    "normalize": {"type", "mean", "std"},
}
_ORDER = tuple(_KEYS)
"""What can be done here, in this order and no other."""
_OURS = {"resize.size": "resize", "center_crop.size": "crop"}
_UNUSED = ("type", "antialias", "max_size")
_WITHOUT_EFFECT = ("convert_rgb", "to_tensor", "maybe_to_tensor")


def preprocessing_of(told: Mapping[str, Any], size: str, place: Path) -> Preprocessing:
    """Return what the steps do.

    Raises:
        ModelError: they do more than resizing, cropping and normalising; the message names the step.
    """
    names = _SETS if size == "test" else ("val", "test", "stages")
    steps = next((told[name] for name in names if isinstance(told.get(name), list)), None)
    if steps is None:
        raise ModelError(f"{place} holds no list of steps: {', '.join(_SETS)}", SAY_IT)
    found: dict[str, Any] = {}
    done = -1
    for step in steps:
        kind = str(step.get("type")) if isinstance(step, dict) else ""
        if kind in _WITHOUT_EFFECT:
            continue
        place_in_order = _ORDER.index(kind) if kind in _ORDER else done
        if (
            place_in_order <= done
            or not step.keys() <= _KEYS[kind]
            or not step.get("antialias", True)
            or step.get("max_size")
        ):
            raise ModelError(f"{place}: the step {step} cannot be done here, or not at this place", SAY_IT)
        done = place_in_order
        found |= {_OURS.get(f"{kind}.{key}", key): value for key, value in step.items() if key not in _UNUSED}
    found["resize"] = _sides(found.get("resize"))
    if "crop" not in found and isinstance(found.get("resize"), list):
        found["fit"], found["crop"] = "squash", found.pop("resize")
    try:
        return Preprocessing(**found)
    except ValidationError as error:
        raise ModelError(f"{place}: {first_problem(error)}", SAY_IT) from None


def _sides(size: object) -> object:
    """Return the size of a Resize: one number, which may stand in a list, is the shorter side."""
    return size[0] if isinstance(size, list) and len(size) == 1 else size
