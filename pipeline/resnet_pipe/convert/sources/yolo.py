"""A YOLO in an ONNX file, as ultralytics exports it: its metadata, and the shape of its output."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from resnet_pipe.errors import ModelError
from resnet_pipe.model.detection import Kind
from resnet_pipe.preprocess.preprocessing import LARGEST, Preprocessing

_USUAL_SIZE = (640, 640)
_STRIDES = (8, 16, 32, 64)
"""Pixels of the input between the boxes of a level; small networks lack the last."""
_MOST_ANCHORS = 9
"""Boxes of different shapes in a place of the original v5, which has 3."""
_END_TO_END = 6
"""Numbers of a box that the network itself has chosen: corners, score, class."""
_MOST_END_TO_END = 1000
_TASK = "detect"
_LONGEST = 1 << 20
"""Characters of metadata that are read; names of 80 classes take 1,500."""
_LETTERBOX = {"fit": "pad", "pad_value": 114, "interpolation": "linear", "mean": [0, 0, 0], "std": [1, 1, 1]}
"""How ultralytics prepares an image (`LetterBox` in its `data/augment.py`): levels of 0 to 1, no mean."""


def metadata_of(proto: Any) -> dict[str, str]:  # noqa: ANN401 - protobuf messages are untyped
    """Return what an exporter has written into a file beside the network."""
    return {entry.key: entry.value for entry in proto.metadata_props if len(entry.value) <= _LONGEST}


def may_be(proto: Any) -> bool:  # noqa: ANN401
    """Tell whether a file says that it is a YOLO, or has the one output of one: a list of boxes an image."""
    said = metadata_of(proto)
    if {"stride", "names"} <= said.keys():
        return True
    shapes = [one.type.tensor_type.shape.dim for one in proto.graph.output]
    return len(shapes) == 1 and len(shapes[0]) == 3


def size_of(
    path: Path,
    proto: Any,  # noqa: ANN401
    size: tuple[int, int] | None,
) -> tuple[tuple[int, int], tuple[str, ...]]:
    """Return height and width of the input, and what is assumed: `size`, or what its metadata says, or 640.

    Raises:
        ModelError: the metadata says a size that its images cannot have.
    """
    said = metadata_of(proto)
    if size is not None:
        return size, ()
    if "imgsz" not in said:
        return _USUAL_SIZE, (f"images of {_USUAL_SIZE[1]} x {_USUAL_SIZE[0]}, as the file does not say it",)
    named, stride = _value(path, said, "imgsz"), _value(path, said, "stride")
    sides = tuple(named) if isinstance(named, list | tuple) else (named, named)
    remedy = f"export it again, or say it: --preprocess '{preprocessing_for(_USUAL_SIZE).describe()}'"
    if len(sides) != 2 or not all(type(side) is int and 0 < side <= LARGEST for side in sides):
        problem = f"is {said['imgsz'][:50]}, and not [height, width] in pixels, up to {LARGEST}"
        raise ModelError(f"{path}: its metadata 'imgsz' {problem}", remedy)
    step = stride if type(stride) is int and stride > 0 else 1
    if any(side % step for side in sides):
        problem = f"is {said['imgsz'][:50]}, and no multiple of its stride, {step}"
        raise ModelError(f"{path}: its metadata 'imgsz' {problem}", remedy)
    return (sides[0], sides[1]), ()


def with_size(proto: Any, size: tuple[int, int]) -> Any:  # noqa: ANN401
    """Return a copy for images of one size: cv2.dnn's engine for CUDA does not take a network for any."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(proto)
    weights = {tensor.name for tensor in fixed.graph.initializer}
    image = next(value for value in fixed.graph.input if value.name not in weights)
    for dimension, side in zip(image.type.tensor_type.shape.dim[2:], size, strict=True):
        dimension.Clear()
        dimension.dim_value = side
    return fixed


def preprocessing_for(size: tuple[int, int]) -> Preprocessing:
    """Return how ultralytics prepares an image for an input of this height and width."""
    return Preprocessing.model_validate({"crop": list(size), **_LETTERBOX})


def refuse_other_tasks(path: Path, proto: Any) -> None:  # noqa: ANN401
    """Raise a `ModelError` for a network of ultralytics that does not give boxes, or more than these."""
    task = metadata_of(proto).get("task", _TASK)
    if task != _TASK:
        raise ModelError(
            f"{path} is a YOLO for the task {task[:50]!r}, and only {_TASK!r} is supported",
            "give a network that finds boxes",
        )
    if len(proto.graph.output) != 1:
        names = ", ".join(value.name for value in proto.graph.output)
        raise ModelError(f"{path}: a YOLO has one output, this file has {names}", "export it again")


def kind_of(path: Path, proto: Any, shape: Sequence[int], size: tuple[int, int]) -> Kind:  # noqa: ANN401
    """Return what an output means by its shape (n, ...) for an input of height and width `size`.

    ModelError if there is no telling.
    """
    places = [(size[0] // stride) * (size[1] // stride) for stride in _STRIDES]
    counts = list(accumulate(places))[2:]
    if len(shape) == 3:
        chosen = metadata_of(proto).get("end2end", "True") == "True"  # nobody else says it
        if chosen and shape[2] == _END_TO_END and shape[1] <= _MOST_END_TO_END:
            return "yolo_end_to_end"
        if shape[2] in counts and shape[1] > 4:
            return "yolo"
        if (
            any(shape[1] in range(count, count * _MOST_ANCHORS + 1, count) for count in counts)
            and shape[2] > 5
        ):
            return "yolo5"
    raise ModelError(
        f"{path}: its output has shape {tuple(shape)} for an image of {size[1]} x {size[0]}, which is that of"
        " no YOLO: (n, 4 + classes, boxes), (n, boxes, 5 + classes) or (n, boxes, 6)",
        "export it with ultralytics, for the task detect",
    )


def classes_of(path: Path, proto: Any, kind: Kind, shape: Sequence[int]) -> tuple[list[str], bool]:  # noqa: ANN401
    """Return the names of the classes, and whether the file has them; ModelError if there are too few."""
    names = _value(path, metadata_of(proto), "names")
    if isinstance(names, list | tuple):
        names = dict(enumerate(names))
    count = {"yolo": shape[1] - 4, "yolo5": shape[2] - 5}.get(kind)
    if not isinstance(names, dict) or not all(type(key) is int for key in names):
        if count is None:
            raise ModelError(
                f"{path} does not say what its classes are called, and its output not how many there are",
                "export it with ultralytics, which writes their names into the file",
            )
        return [f"class {index}" for index in range(count)], False
    if sorted(names) != list(range(len(names))):
        raise ModelError(f"{path}: its metadata 'names' leaves out numbers of classes", "export it again")
    if count not in (None, len(names)):
        raise ModelError(
            f"{path}: its metadata names {len(names)} classes, and its output has {count}", "export it again"
        )
    return [str(names[index]) for index in range(len(names))], True


def shape_of(outputs: dict[str, np.ndarray[Any, Any]]) -> tuple[int, ...]:
    """Return the shape of the only output."""
    (values,) = outputs.values()
    return tuple(values.shape)


def _value(path: Path, said: dict[str, str], key: str) -> Any:  # noqa: ANN401
    """Return a value of the metadata, which is written as Python prints it; None if it is not there."""
    if key not in said:
        return None
    try:
        return ast.literal_eval(said[key])
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise ModelError(f"{path}: its metadata {key!r} is no list of values", "export it again") from None
