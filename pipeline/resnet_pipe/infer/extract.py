"""Reduce a network to the wanted outputs and the nodes that these need."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_pipe.model.output import value_shape, value_type

if TYPE_CHECKING:
    from onnx import ModelProto


def load(path: Path, outputs: Collection[str] | None) -> ModelProto:
    """Read an ONNX file with its weights, and remove what the wanted outputs do not need; None wants all.

    If the network lacks one of them, all its outputs are kept, for the message.
    """
    import onnx

    model = onnx.load(str(path), format="protobuf")
    if outputs is not None and {value.name for value in model.graph.output}.issuperset(outputs):
        _keep(model.graph, outputs)
    return model


def extracted(path: Path, outputs: Collection[str]) -> bytes:
    """Return the serialised ONNX network with only these outputs, each with a shape."""
    from onnx import TensorProto

    model = load(path, outputs)
    for value in model.graph.output:  # OpenCV needs what may be missing; no library takes it at its word
        if value_type(value) == "unknown":
            value.type.tensor_type.elem_type = TensorProto.FLOAT
        if value_shape(value) is None:
            for name in ("N", value.name):
                value.type.tensor_type.shape.dim.add(dim_param=name)
    data: bytes = model.SerializeToString()
    return data


def _keep(graph: Any, outputs: Collection[str]) -> None:  # noqa: ANN401 - protobuf messages are untyped
    needed = set(outputs)
    for index in reversed(range(len(graph.node))):  # each stands before those that take what it gives
        if needed.intersection(graph.node[index].output):
            needed.update(_taken(graph.node[index]))
        else:
            del graph.node[index]
    unused = {tensor.name for tensor in graph.initializer} - needed
    _drop(graph.output, {value.name for value in graph.output}.difference(outputs))
    _drop(graph.initializer, unused)
    _drop(graph.input, unused)  # files of before IR version 4 list weights there, too


def _drop(field: Any, names: set[str]) -> None:  # noqa: ANN401
    for index in reversed(range(len(field))):
        if field[index].name in names:
            del field[index]


def _taken(node: Any) -> Iterator[str]:  # noqa: ANN401
    """Yield the names of the values that a node reads, including those inside the branches of an If."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _taken(inner)
            yield from (value.name for value in graph.output)
