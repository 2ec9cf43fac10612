"""What an ONNX file says about its own inputs and outputs, read without running anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_pipe.errors import ModelError


@dataclass(frozen=True)
class Network:
    """Inputs and outputs of a classification network.

    Attributes:
        logits: name of the output with one value for each class.
        features: name of the pooled output before the classifier, or None if the file has none.
        classes: width of `logits`.
        width: width of `features`; 0 if there are none.
        size: (H, W) of the input if it is fixed, else None.
    """

    logits: str
    features: str | None
    classes: int
    width: int
    size: tuple[int, int] | None


def inspect(path: Path) -> Network:
    """Read an ONNX file's inputs and outputs, and refuse what cannot be run safely.

    Raises:
        ModelError: not an ONNX file, not a classification network with one NCHW image input, or its
            weights lie in files outside its own directory.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError:
        raise ModelError(f"{path} is not an ONNX file", "give a file made by `resnet-pipe convert`") from None
    _check_external_data(model, path)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    shapes = {value.name: _shape(value) for value in (*inputs, *model.graph.output)}
    if len(inputs) != 1 or len(shapes[inputs[0].name]) != 4 or shapes[inputs[0].name][1] not in (3, None):
        found = ", ".join(f"{value.name} {shapes[value.name]}" for value in inputs) or "none"
        raise ModelError(f"{path}: expected one image input of shape (N, 3, H, W); found {found}")
    outputs = {value.name: shapes[value.name][-1] for value in model.graph.output}
    logits = _logits(path, {name: width for name, width in outputs.items() if len(shapes[name]) == 2})
    height, width = shapes[inputs[0].name][2:]
    features = "features" if outputs.get("features") else None
    return Network(
        logits=logits,
        features=features,
        classes=outputs[logits] or 0,
        width=outputs["features"] or 0 if features else 0,
        size=(height, width) if height and width else None,
    )


def _logits(path: Path, outputs: dict[str, int | None]) -> str:
    if outputs.get("logits"):
        return "logits"
    named = [name for name, width in outputs.items() if width and name != "features"]
    if len(named) != 1:
        raise ModelError(
            f"{path}: cannot tell which output holds the logits, of: {', '.join(outputs) or 'none'}",
            "name it `logits`, with shape (N, classes)",
        )
    return named[0]


def _shape(value: Any) -> tuple[int | None, ...]:  # noqa: ANN401 - protobuf messages are untyped
    return tuple(
        dimension.dim_value if dimension.HasField("dim_value") and dimension.dim_value > 0 else None
        for dimension in value.type.tensor_type.shape.dim
    )


def _check_external_data(model: Any, path: Path) -> None:  # noqa: ANN401
    from onnx.external_data_helper import _get_all_tensors, uses_external_data

    directory = path.resolve().parent
    for tensor in _get_all_tensors(model):
        if not uses_external_data(tensor):
            continue
        location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        if not (directory / location).resolve().is_relative_to(directory):
            raise ModelError(f"{path}: its weights point outside its own directory: {location!r}")
