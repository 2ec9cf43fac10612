"""One output of an ONNX network: its type and shape in the file, and the meaning of its values."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, Literal

from resnet_pipe.model import ending as endings
from resnet_pipe.model.ending import Ending

Activation = Literal["softmax", "sigmoid", "none"]
"""How scores are computed from the values of an output; none: they already are scores."""

HELD = {
    None: "logits",
    "softmax": "probabilities (the network ends in a softmax)",
    "log_softmax": "log-probabilities (the network ends in a log-softmax)",
    "sigmoid": "probabilities (the network ends in a sigmoid)",
}
"""What the values of a class output are, in words, by how the network ends."""

Shape = tuple[int | None, ...]

_FLOATS = ("float16", "float32", "float64")
_MADE_BY_NOTHING = "not produced by any node"
_SORTED = "sorted"
"""The type of what TopK gives: which class a number is of, only its other output tells."""
_LONGEST = 1 << 24
"""Axes of an output: if a file claims more, its shapes are ignored, and found by running the network."""
_NAMES = {"float": "float32", "double": "float64"}
"""NumPy's names of types for which ONNX has other names."""


@dataclass(frozen=True)
class Output:
    """An output of a network.

    Attributes:
        type: `float32`, `int64` ...; or `sequence`, `map`, `optional`, `sparse tensor`; `unknown`; or that no
            node makes it, or that its numbers are sorted.
        shape: batch first; None for a length that is not known, and for that of the batch; None as a whole
            where not even the number of axes is known.
        ending: what the network has applied to the values, over the classes.
        declared: whether the file itself gives a shape: some libraries want one.
    """

    name: str
    type: str
    shape: Shape | None
    ending: Ending | None = None
    declared: bool = True

    @property
    def width(self) -> int | None:
        """Values per image; None if that is known only after a forward pass."""
        if self.shape is None or None in self.shape[1:]:
            return None
        return prod(length or 0 for length in self.shape[1:])

    @property
    def is_row(self) -> bool:
        """Whether it has one row of floating-point numbers per image, as far as the file says."""
        if self.type not in (*_FLOATS, "unknown"):
            return False
        if self.shape is None:
            return True
        if len(self.shape) < 2:
            return self.shape == (None,)
        return sum(length != 1 for length in self.shape[1:] if length is not None) <= 1

    @property
    def activation(self) -> Activation:
        """How scores are computed from the values of a class output. Log-probabilities count as logits."""
        if self.ending in ("softmax", "sigmoid"):
            return "none"
        return "sigmoid" if self.width == 1 else "softmax"

    def describe(self) -> str:
        """Return name, type and shape, for messages."""
        kind = "" if self.type == "float32" else f"{self.type} "
        if self.shape is None:
            shaped = f"{kind}of unknown shape" if self.type in _FLOATS else self.type
            return f"{self.name} ({shaped})"
        if not self.shape:
            return f"{self.name} ({kind}scalar)"
        return f"{self.name} {kind}{shape_text(self.shape)}"


def shape_text(shape: Shape) -> str:
    """Return a shape for messages: `N` for the batch, `?` for unknown lengths."""
    first = "N" if shape[0] is None else str(shape[0])
    rest = ", ".join("?" if length is None else str(length) for length in shape[1:])
    return f"({first}, {rest})" if rest else f"({first},)"


def value_type(value: Any) -> str:  # noqa: ANN401 - protobuf messages are untyped
    """Return the type of an input or output: that of its elements if it is a tensor, else its own."""
    from onnx import TensorProto

    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return "unknown" if kind is None else kind.removesuffix("_type").replace("_", " ")
    number = value.type.tensor_type.elem_type
    if number not in TensorProto.DataType.values() or number == TensorProto.UNDEFINED:
        return "unknown"
    name = TensorProto.DataType.Name(number).lower()
    return _NAMES.get(name, str(name))


def value_shape(value: Any) -> Shape | None:  # noqa: ANN401
    """Return the shape of an input or output; None if the file does not give one, or it is not a tensor."""
    if value.type.WhichOneof("value") != "tensor_type" or not value.type.tensor_type.HasField("shape"):
        return None
    return tuple(
        dimension.dim_value if 0 < dimension.dim_value <= _LONGEST else None
        for dimension in value.type.tensor_type.shape.dim
    )


def outputs_of(model: Any) -> tuple[Output, ...]:  # noqa: ANN401
    """Return the outputs of a ModelProto, with or without weights, as far as known without a run."""
    declared = {value.name for value in model.graph.output if value_shape(value) is not None}
    if endings.may_be_in(model.graph) or any(_is_open(value) for value in model.graph.output):
        model = _with_shapes(model)
    graph = model.graph
    shapes = {value.name: value_shape(value) for value in (*graph.value_info, *graph.output)}
    size = _batch_size(graph)
    made = {value.name for value in (*graph.input, *graph.initializer)}
    made.update(name for node in graph.node for name in node.output)
    ordered = {node.output[0] for node in graph.node if node.op_type == "TopK" and node.output}
    return tuple(
        Output(
            name=value.name,
            type=_SORTED if value.name in ordered else value_type(value),
            shape=_of_items(shapes[value.name], size),
            ending=endings.ending(model, value.name, shapes),
            declared=value.name in declared,
        )
        if value.name in made
        else Output(value.name, _MADE_BY_NOTHING, None)
        for value in graph.output
    )


def _is_open(value: Any) -> bool:  # noqa: ANN401
    shape = value_shape(value)
    return shape is None or None in shape[1:]


def _with_shapes(model: Any) -> Any:  # noqa: ANN401
    """Return a network with inferred shapes, or unchanged if they cannot be inferred."""
    import onnx

    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # onnx has several; what is wrong is for the engine to say. 2 GB are too much for it
        return model


def _batch_size(graph: Any) -> int | None:  # noqa: ANN401
    weights = {tensor.name for tensor in graph.initializer}
    shapes = [value_shape(value) for value in graph.input if value.name not in weights]
    return shapes[0][0] if shapes and shapes[0] else None


def _of_items(shape: Shape | None, batch_size: int | None) -> Shape | None:
    """Return a shape whose first length is None if it is that of the batch."""
    return (None, *shape[1:]) if shape and shape[0] == batch_size else shape
