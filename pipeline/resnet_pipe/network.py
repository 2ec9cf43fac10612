"""What an ONNX file says about its own inputs and outputs, read without running anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_pipe.errors import ModelError

SEVEN_BITS = 64
"""The largest absolute value of int8 weights whose sums of products saturate nowhere; see `cpu.saturates`."""


@dataclass(frozen=True)
class Network:
    """Inputs and outputs of a classification network.

    Attributes:
        logits: name of the output with one value for each class.
        features: name of the pooled output before the classifier, or None if the file has none.
        classes: width of `logits`.
        width: width of `features`; 0 if there are none.
        size: (H, W) of the input if it is fixed, else None.
        data: files beside the ONNX file that hold weights of it.
        quantized: whether it computes in int8 (it has QuantizeLinear nodes).
        full_range: whether its int8 weights need more than 7 bits, or it does not show how many.
    """

    logits: str
    features: str | None
    classes: int
    width: int
    size: tuple[int, int] | None
    data: tuple[Path, ...] = ()
    quantized: bool = False
    full_range: bool = False


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
    data = _external_data(model, path)
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
    quantized = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    return Network(
        logits=logits,
        features=features,
        classes=outputs[logits] or 0,
        width=outputs["features"] or 0 if features else 0,
        size=(height, width) if height and width else None,
        data=data,
        quantized=quantized,
        full_range=quantized and _full_range(model, path),
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


def _external_data(model: Any, path: Path) -> tuple[Path, ...]:  # noqa: ANN401
    """Return the files in which an ONNX file keeps weights.

    Raises:
        ModelError: one is missing, or lies outside its own directory: a model from someone else may not
            read what is there.
    """
    directory = path.resolve().parent
    places = {
        entry.value for tensor in _tensors(model) for entry in tensor.external_data if entry.key == "location"
    }
    files = set()
    for place in places:
        try:
            file = (directory / place).resolve()
        except ValueError:  # a zero byte
            file = directory.parent
        if not file.is_relative_to(directory):
            raise ModelError(
                f"{path}: its weights point outside its own directory: {place!r}",
                "use a model that holds its weights, or has them beside it",
            )
        if not file.is_file():
            raise ModelError(f"{path}: its weights are missing: {file}", "copy them there with the model")
        files.add(file)
    return tuple(sorted(files))


def _full_range(model: Any, path: Path) -> bool:  # noqa: ANN401
    """Tell whether int8 weights exceed 7 bits; also if they cannot be read, or are rounded when loaded."""
    import onnx

    weights = {tensor.name for tensor in model.graph.initializer}
    if any(node.op_type == "QuantizeLinear" and node.input[0] in weights for node in model.graph.node):
        return True
    for tensor in _tensors(model):
        if tensor.data_type == onnx.TensorProto.INT8:
            try:
                values = onnx.numpy_helper.to_array(tensor, str(path.resolve().parent))
            except Exception:  # onnx has none of its own; what is wrong is for the engine to say
                return True
            if values.size and (values.max() > SEVEN_BITS or values.min() < -SEVEN_BITS):
                return True
    return False


def _tensors(message: Any) -> Iterator[Any]:  # noqa: ANN401
    """Yield every tensor in a message, wherever it stands: a checker that knows the places can miss one."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for child in value if isinstance(value, Sequence) else [value]:
            if field.message_type.name == "TensorProto":
                yield child
            else:
                yield from _tensors(child)
