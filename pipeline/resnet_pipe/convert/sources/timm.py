"""Networks of timm: the plain ResNets as networks of torchvision, all others through timm itself."""

from __future__ import annotations

import inspect
import math
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from resnet_pipe.convert.sources.hugging_face import EXPORT_IT
from resnet_pipe.convert.sources.image_processor import SAY_IT
from resnet_pipe.errors import MissingExtraError, ModelError
from resnet_pipe.infer.engine import one_line
from resnet_pipe.preprocess.preprocessing import Preprocessing, first_problem

if TYPE_CHECKING:
    from torch import Tensor, nn

Size = Literal["train", "test"]
PLAIN = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"),
)
"""Networks that timm and torchvision call the same, with the same names of weights: they need no timm."""
_PLAIN_ARGUMENTS = {"in_chans": (3,), "num_classes": None, "global_pool": ("avg", "", None)}
"""Arguments that leave such a network what it is, with these values; None for any."""

_DEEPEST = 1000
"""Blocks of a network."""
_LARGEST = 100_000
"""Any other number in the description of a network: classes, widths, pixels."""
_COUNTS = re.compile(r"layer|depth|block|repeat|stage")
"""In the names of arguments that say how many blocks there are."""
_TOO_LARGE = "check that the file is of this network; or " + EXPORT_IT


def architecture(config: Mapping[str, Any], place: Path) -> str:
    """Return timm's name of the network that a config.json describes, without the tag of its weights."""
    name = config.get("architecture")
    if not isinstance(name, str):
        raise ModelError(f"{place}: architecture: expected a name, not {name!r}", "copy or download it again")
    return name.partition(".")[0]


def network(
    config: Mapping[str, Any], state: Mapping[str, Tensor], place: Path
) -> tuple[nn.Module, str | None]:
    """Return the network that a config.json of timm describes, in eval mode, and where its classifier is.

    Without a classifier, that is None, and the network gives features.

    Raises:
        MissingExtraError: it needs timm, which is not installed.
        ModelError: timm does not have it, or the weights are not of this network.
    """
    name = architecture(config, place)
    arguments = config.get("model_args") or {}
    if not isinstance(arguments, Mapping):
        raise ModelError(f"{place}: model_args: expected names and values, not {arguments!r}", EXPORT_IT)
    made = _plain(name, state) if is_plain(config, place) else _made_by_timm(config, place)
    return _with(state, made, name, place), _classifier(made, config, place)


def is_plain(config: Mapping[str, Any], place: Path) -> bool:
    """Tell whether a config.json describes a network that torchvision has as well."""
    return architecture(config, place) in PLAIN and all(
        key in _PLAIN_ARGUMENTS and value in (_PLAIN_ARGUMENTS[key] or (value,))
        for key, value in (config.get("model_args") or {}).items()
    )


def reference(config: Mapping[str, Any], state: Mapping[str, Tensor], place: Path) -> nn.Module:
    """Return the network as timm itself has it, in eval mode."""
    return _with(state, _made_by_timm(config, place), architecture(config, place), place)


def _with(state: Mapping[str, Tensor], made: nn.Module, name: str, place: Path) -> nn.Module:
    try:
        made.load_state_dict(dict(state))
    except RuntimeError as error:
        problem = str(error).splitlines()[-1].strip()
        raise ModelError(
            f"{place}: the weights do not fit {name}: {problem}", "check that both files are of one network"
        ) from None
    return made.eval()


def _plain(name: str, state: Mapping[str, Tensor]) -> nn.Module:
    from torch import nn
    from torchvision.models import get_model

    classes = len(state["fc.weight"]) if "fc.weight" in state else 0
    made: nn.Module = get_model(name, weights=None, num_classes=classes or 1)
    if not classes:
        made.set_submodule("fc", nn.Identity())
    return made


def _made_by_timm(config: Mapping[str, Any], place: Path) -> nn.Module:
    name, arguments = architecture(config, place), config.get("model_args") or {}
    try:
        import timm
    except ImportError:
        raise MissingExtraError("timm", "timm", f"Converting {name}") from None
    if not timm.is_model(name):
        raise ModelError(
            f"{place}: architecture: timm {timm.__version__} has no network {name!r}",
            "install the version of timm that wrote this file",
        )
    # The file may be anybody's: what create_model itself understands could read or fetch other files.
    for key in inspect.signature(timm.create_model).parameters.keys() & arguments.keys():
        raise ModelError(f"{place}: model_args: {key} is not an argument of a network", "remove it")
    classes = config.get("num_classes")
    _refuse_huge("num_classes", classes, place)
    for key, value in arguments.items():
        _refuse_huge(f"model_args: {key}", value, place)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made: nn.Module = timm.create_model(
                name, pretrained=False, exportable=True, **{"num_classes": classes, **arguments}
            )
    except MemoryError:
        raise
    except Exception as error:  # whatever the arguments of a file make a network raise
        problem = f"{place}: timm cannot make {name} as described: {one_line(error)}"
        raise ModelError(problem, EXPORT_IT) from None
    return made


def _refuse_huge(key: str, value: object, place: Path) -> None:
    """Refuse a number that would keep timm building: it makes what it is told, layer by layer."""
    numbers = list(_numbers(value))
    if any(abs(number) > _LARGEST for number in numbers):
        raise ModelError(f"{place}: {key}: a number is larger than {_LARGEST:,}", _TOO_LARGE)
    if len(numbers) > _DEEPEST or (_COUNTS.search(key) and sum(numbers) > _DEEPEST):
        raise ModelError(f"{place}: {key}: a network of over {_DEEPEST:,} blocks", _TOO_LARGE)


def _numbers(value: object) -> Iterator[float]:
    """Yield all numbers in a value of JSON."""
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _numbers(one)


def _classifier(made: nn.Module, config: Mapping[str, Any], place: Path) -> str | None:
    """Return the name of the last layer, whose input are the features; None if there is none."""
    told = _pretrained(config, place).get("classifier", "fc")
    layer = dict(made.named_modules()).get(told) if isinstance(told, str) else None
    if layer is not None:
        return told if hasattr(layer, "weight") else None
    raise ModelError(
        f"{place}: pretrained_cfg.classifier: the network has no layer {told!r}",
        EXPORT_IT,
    )


def preprocessing_of(config: Mapping[str, Any], size: Size, place: Path) -> Preprocessing:
    """Return how timm prepares images for evaluation: as `create_transform` does, on Pillow.

    With the size `test`, what the weights were evaluated at, if that is another size.

    Raises:
        ModelError: it does something that cannot be done here; the message names the key.
    """
    told = _pretrained(config, place) if "pretrained_cfg" in config else config
    key = "test_input_size" if size == "test" and told.get("test_input_size") else "input_size"
    shape = told.get(key) or (3, 224, 224)
    if not (isinstance(shape, list | tuple) and len(shape) == 3 and all(type(n) is int for n in shape)):
        raise ModelError(f"{place}: {key}: expected channels, height and width, not {shape!r}", SAY_IT)
    sides = tuple(shape[1:])
    share = "test_crop_pct" if size == "test" and told.get("test_crop_pct") else "crop_pct"
    part = told.get(share) or 0.875
    mode, mean = told.get("crop_mode") or "center", told.get("mean") or (0.485, 0.456, 0.406)
    std = told.get("std") or (0.229, 0.224, 0.225)
    for name, value in (("mean", mean), ("std", std)):
        if not (isinstance(value, list | tuple) and len(value) == 3 and all(map(_is_number, value))):
            raise ModelError(f"{place}: {name}: expected three numbers, not {value!r}", SAY_IT)
    if not (_is_number(part) and part > 0):
        raise ModelError(f"{place}: {share}: expected a share such as 0.875, not {part!r}", SAY_IT)
    found: dict[str, Any] = {
        "crop": sides,
        "interpolation": told.get("interpolation") or "bicubic",
        "mean": list(mean),
        "std": list(std),
    }
    try:
        scaled = tuple(math.floor(side / part) for side in sides)
        if mode == "squash":
            found["resize"] = scaled
        elif mode == "border" and scaled == sides:
            found |= {"fit": "pad", "pad_value": tuple(round(255 * value) for value in mean)}
        elif mode == "center" and scaled[0] == scaled[1]:
            found["resize"] = scaled[0]
        else:
            raise ModelError(f"{place}: crop_mode: {mode} with crop_pct {part} and size {sides}", SAY_IT)
        return Preprocessing(**found)
    except (ValidationError, TypeError, ZeroDivisionError) as error:
        problem = first_problem(error) if isinstance(error, ValidationError) else error
        raise ModelError(f"{place}: pretrained_cfg cannot be understood: {problem}", SAY_IT) from None


def _pretrained(config: Mapping[str, Any], place: Path) -> Mapping[str, Any]:
    told = config.get("pretrained_cfg")
    if told is None:
        return {}
    if not isinstance(told, Mapping):
        raise ModelError(f"{place}: pretrained_cfg: expected names and values, not {told!r}", SAY_IT)
    return told


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def licence_of(config: Mapping[str, Any]) -> str | None:
    """Return the licence that a config.json names; None if it names none."""
    told = config.get("pretrained_cfg")
    found = told.get("license") if isinstance(told, Mapping) else None
    return str(found) if found else None


def labels_of(config: Mapping[str, Any]) -> tuple[list[str] | None, tuple[str, ...]]:
    """Return the labels of a network in the order of its classes, and what is assumed for that.

    None if nothing is known: timm names none for the 1000 classes of ImageNet, but tells by the tag of the
    weights that it is these.
    """
    told = _told_labels(config)
    told_of = config.get("pretrained_cfg")
    tag = str(told_of.get("tag", "")) if isinstance(told_of, Mapping) else ""
    if told is not None or not tag.endswith("in1k") or config.get("num_classes") != 1000:
        return told, ()
    from torchvision.models import ResNet18_Weights

    labels = list(ResNet18_Weights.DEFAULT.meta["categories"])
    return labels, (f"the labels of ImageNet-1k in torchvision, because the tag is {tag}",)


def _told_labels(config: Mapping[str, Any]) -> list[str] | None:
    names = config.get("label_names")
    if isinstance(names, Mapping):
        by_index = {int(index): str(name) for index, name in names.items() if str(index).isdecimal()}
        names = (
            [by_index[index] for index in sorted(by_index)]
            if by_index.keys() == set(range(len(names)))
            else None
        )
    if not isinstance(names, list) or not names:
        return None
    described = config.get("label_descriptions")
    described = described if isinstance(described, Mapping) else {}
    return [str(described.get(name, name)) for name in names]
