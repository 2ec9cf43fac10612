"""Whether a network already turns its logits into probabilities, judging by how its graph ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Ending = Literal["softmax", "log_softmax", "sigmoid"]

_HAND_ON = {
    *("Identity", "Cast", "CastLike", "Dropout", "Clip", "QuantizeLinear", "DequantizeLinear"),
    *("Reshape", "Flatten", "Squeeze", "Unsqueeze"),
}
"""Operators that leave the values unchanged, or nearly so."""
_SOFTMAX: dict[str, Ending] = {"Softmax": "softmax", "LogSoftmax": "log_softmax"}
_SIGMOID = ("Sigmoid", "HardSigmoid")
_ANY_AXIS = 13
"""From this opset on, a softmax is over one axis; before, it was over that axis and all later ones."""


def may_be_in(graph: Any) -> bool:  # noqa: ANN401 - protobuf messages are untyped
    """Return whether a graph has a softmax at all; only then does `ending` need the shapes of its values."""
    return any(node.op_type in _SOFTMAX for node in graph.node)


def ending(model: Any, name: str, shapes: Mapping[str, tuple[int | None, ...] | None]) -> Ending | None:  # noqa: ANN401
    """Return the operator that turns an output's values into probabilities; None if there is none.

    Args:
        model: an ONNX ModelProto.
        name: name of the output.
        shapes: of the graph's values, as far as they are known.
    """
    nodes = {output: node for node in model.graph.node for output in node.output if output}
    of_a_logarithm = False
    for _ in model.graph.node:  # a graph from someone else may go round in circles
        node = nodes.get(name)
        if node is None or not node.input:
            return None
        if node.op_type == "Log":
            of_a_logarithm = True
        elif node.op_type not in _HAND_ON:
            found = _made_by(node, nodes, shapes.get(name), _opset(model))
            if not of_a_logarithm:
                return found
            return "log_softmax" if found == "softmax" else None
        name = node.input[0]
    return None


def _made_by(
    node: Any,  # noqa: ANN401
    nodes: Mapping[str, Any],
    shape: tuple[int | None, ...] | None,
    opset: int,
) -> Ending | None:
    if node.op_type in _SIGMOID:
        return "sigmoid"
    if node.op_type in _SOFTMAX:
        axis = next((one.i for one in node.attribute if one.name == "axis"), -1 if opset >= _ANY_AXIS else 1)
        return _SOFTMAX[node.op_type] if _is_of_classes(axis, shape, opset) else None
    if node.op_type == "Div" and len(node.input) == 2:  # as TensorFlow and old exporters write it
        exponent, total = (nodes.get(name) for name in node.input)
        if exponent is not None and total is not None and exponent.op_type == "Exp":
            sums = total.op_type == "ReduceSum" and total.input and total.input[0] == node.input[0]
            return "softmax" if sums else None
    return None


def _is_of_classes(axis: int, shape: tuple[int | None, ...] | None, opset: int) -> bool:
    """Return whether a softmax covers all values of an image; other axes must have length 1."""
    if shape is None:
        return axis in (1, -1)
    axis = axis % len(shape) if shape else 0
    if axis == 0:
        return False
    others = shape[1:axis] + (shape[axis + 1 :] if opset >= _ANY_AXIS else ())
    return all(length in (1, None) for length in others)


def _opset(model: Any) -> int:  # noqa: ANN401
    return max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=0)
