"""An ONNX network as a library is to get it: only the wanted outputs, or uint8 pixels as its input."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from resnet_pipe.model.output import value_shape, value_type
from resnet_pipe.preprocess.network_input import NetworkInput

if TYPE_CHECKING:
    from onnx import ModelProto

PIXELS = "resnet_pipe/pixels"
"""Name of the input of a network that normalises: uint8, shape (N, H, W, 3), RGB."""


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
    return bytes(model.SerializeToString())


def normalizing(
    path: Path, preprocessing: NetworkInput, half: bool, outputs: Collection[str] | None = None
) -> bytes:
    """Return a network with one float input (N, 3, H, W) as one that normalises: its only input is `PIXELS`.

    That is uint8, or float32 if the preprocessing says so. What is no image is taken as it is.

    With `half`, it computes in float16, and its outputs stay float32. `outputs` are those to keep; None: all.
    """
    model = load(path, outputs)
    if half:
        from onnxruntime.transformers.float16 import convert_float_to_float16

        model = convert_float_to_float16(model, keep_io_types=True)
    if preprocessing.shape is None:
        _normalize(model, preprocessing)
    return bytes(model.SerializeToString())


def _keep(graph: Any, outputs: Collection[str]) -> None:  # noqa: ANN401 - protobuf messages are untyped
    needed = set(outputs)
    for index in reversed(range(len(graph.node))):  # each stands before those that take what it gives
        if needed.intersection(graph.node[index].output):
            needed.update(taken(graph.node[index]))
        else:
            del graph.node[index]
    unused = {tensor.name for tensor in graph.initializer} - needed
    _drop(graph.output, {value.name for value in graph.output}.difference(outputs))
    _drop(graph.initializer, unused)
    _drop(graph.input, unused)  # files of before IR version 4 list weights there, too
    inputs = {value.name for value in graph.input}
    if not needed.isdisjoint(inputs):
        _drop(graph.input, inputs - needed)  # that of another network in the file


def _drop(field: Any, names: set[str]) -> None:  # noqa: ANN401
    for index in reversed(range(len(field))):
        if field[index].name in names:
            del field[index]


def taken(node: Any) -> Iterator[str]:  # noqa: ANN401
    """Yield the names of the values that a node reads, including those inside the branches of an If."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from taken(inner)
            yield from (value.name for value in graph.output)


def _normalize(model: ModelProto, preprocessing: NetworkInput) -> None:
    """Put the normalisation in front of a network, in place.

    The uint8 values are transposed first: a quarter of the bytes to move. Then come one multiplication and
    one addition: value / (255 std) - mean / std.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    image = next(value for value in graph.input if value.name not in weights)
    mean, std = (np.array(values).reshape(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    constants = {"scale": 1 / (255 * std), "shift": -mean / std}
    nodes = [
        helper.make_node("Transpose", [PIXELS], [_name("planes")], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", [_name("planes")], [_name("values")], to=TensorProto.FLOAT),
        helper.make_node("Mul", [_name("values"), _name("scale")], [_name("scaled")]),
        helper.make_node("Add", [_name("scaled"), _name("shift")], [_name("normalized")]),
        helper.make_node("Cast", [_name("normalized")], [image.name], to=image.type.tensor_type.elem_type),
    ]
    graph.initializer.extend(
        numpy_helper.from_array(value.astype(np.float32), _name(name)) for name, value in constants.items()
    )
    if preprocessing.color == "bgr":
        graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0]), _name("order")))
        nodes.insert(1, helper.make_node("Gather", [_name("planes"), _name("order")], [_name("bgr")], axis=1))
        nodes[2].input[0] = _name("bgr")
    nodes.extend(graph.node)
    del graph.node[:]
    graph.node.extend(nodes)
    batch = image.type.tensor_type.shape.dim[0]
    size: tuple[int | str, int | str] = preprocessing.size if preprocessing.other is None else ("H", "W")
    kind = TensorProto.FLOAT if preprocessing.floats else TensorProto.UINT8
    image.CopyFrom(helper.make_tensor_value_info(PIXELS, kind, [batch.dim_value or "N", *size, 3]))


def _name(part: str) -> str:
    return f"resnet_pipe/{part}"
