"""What is known of a graph before it runs: the shapes of values, and constants."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from resnet_pipe.infer.extract import taken

_COMPUTED = (
    "Add", "Cast", "Concat", "ConstantOfShape", "Div", "Expand", "Gather", "Mul", "Range", "Reshape", "Slice",
    "Squeeze", "Sub", "Transpose", "Unsqueeze",
)  # fmt: skip
"""Operators that exporters make the places of boxes with, and shapes."""
_LARGEST = 1 << 24
"""Values of what is computed."""


def shapes_of(proto: ModelProto) -> dict[str, list[int]]:
    """Return the shapes of values, as far as they can be inferred; 0 for a length that is not known."""
    try:
        graph = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, ValueError):
        graph = proto.graph
    return {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }


def constants_of(proto: ModelProto) -> dict[str, TensorProto]:
    """Return the weights and constants of a graph, by name."""
    found = {tensor.name: tensor for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant":
            found.update((node.output[0], one.t) for one in node.attribute if one.name == "value")
    return found


def compute_constants(proto: ModelProto) -> None:
    """Compute what depends on no input and onnxscript's optimizer leaves: it has limits of its own."""
    known = constants_of(proto)
    if not any(_is_computed(node, known) for node in proto.graph.node):
        return
    shapes = shapes_of(proto)
    left: list[NodeProto] = []
    for node in proto.graph.node:
        if not _is_computed(node, known) or not 0 < prod(shapes.get(node.output[0], [0])) <= _LARGEST:
            left.append(NodeProto.FromString(node.SerializeToString()))
            continue
        given = {name: numpy_helper.to_array(known[name]) for name in node.input}
        one = helper.make_function("", "one", [*given], node.output, [node], proto.opset_import)
        (values,) = ReferenceEvaluator(one).run(None, given, {})
        known[node.output[0]] = numpy_helper.from_array(np.asarray(values), node.output[0])
        proto.graph.initializer.append(known[node.output[0]])
    del proto.graph.node[:]
    proto.graph.node.extend(left)
    drop_unused(proto)


def _is_computed(node: NodeProto, known: Mapping[str, TensorProto]) -> bool:
    return node.op_type in _COMPUTED and all(name in known for name in node.input)


def drop_unused(proto: ModelProto) -> None:
    """Remove weights that nothing takes."""
    used = {name for node in proto.graph.node for name in taken(node)}
    used.update(value.name for value in proto.graph.output)
    for index in reversed(range(len(proto.graph.initializer))):
        if proto.graph.initializer[index].name not in used:
            del proto.graph.initializer[index]
