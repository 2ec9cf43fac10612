"""Whether a network already turns its logits into probabilities, judging by how its graph ends."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from math import prod
from typing import Any, Literal

Ending = Literal["softmax", "log_softmax", "sigmoid"]

_HAND_ON = {
    *("Identity", "Cast", "CastLike", "Dropout", "Clip", "QuantizeLinear", "DequantizeLinear", "Round"),
    *("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Normalizer"),
}
"""Operators that leave the values unchanged, or nearly so."""
_TOGETHER = ("Add", "Sum", "Mean", "Concat")
"""Operators that make such values of several of a kind: the average of networks, or groups of classes."""
_SCALED = ("Add", "Mul", "Div")
"""Operators that leave them what they are with a constant: a small one against zeros, a percentage."""
_MOST = 64
"""Of values that are looked at: a graph from someone else may branch without end."""
_SOFTMAX: dict[str, Ending] = {
    "Softmax": "softmax",
    "QLinearSoftmax": "softmax",  # of ONNX Runtime, in quantized networks
    "LogSoftmax": "log_softmax",
}
_SIGMOID = ("Sigmoid", "HardSigmoid", "QLinearSigmoid")
_CLASSIFIERS = ("LinearClassifier", "SVMClassifier", "TreeEnsembleClassifier")
"""Of ai.onnx.ml, as scikit-learn's models are exported: the second output has the scores."""
_TRANSFORMS: dict[bytes, Ending] = {b"SOFTMAX": "softmax", b"LOGISTIC": "sigmoid"}
_FUNCTIONS: dict[tuple[str | None, ...], Ending] = {
    ("Log", "softmax"): "log_softmax",
    ("Exp", "log_softmax"): "softmax",
}
_FLOATS = (1, 10, 11)
"""float32, float16 and float64, as ONNX numbers them."""
_ANY_AXIS = 13
"""From this opset on, a softmax is over one axis; before, it was over that axis and all later ones."""


def may_be_in(graph: Any) -> bool:  # noqa: ANN401 - protobuf messages are untyped
    """Return whether a graph has a softmax at all; only then does `ending` need the shapes of its values."""
    return any(node.op_type in _SOFTMAX for node in graph.node)


def ending(model: Any, name: str, shapes: Mapping[str, tuple[int | None, ...] | None]) -> Ending | None:  # noqa: ANN401
    """Return the operator that turns an output's values into probabilities; None if there is none.

    The model is an ONNX ModelProto; the shapes are of the graph's values, as far as they are known.
    """
    nodes = {output: node for node in model.graph.node for output in node.output if output}
    constants = _single_numbers(model.graph)
    opset = max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=0)
    functions: list[str] = []
    found, waiting = set[Ending | None](), [name]
    for _ in range(len(model.graph.node) + _MOST):  # it may go round in circles as well
        if not waiting or len(waiting) > _MOST:
            break
        name = waiting.pop()
        node = nodes.get(name)
        if node is None or not node.input:
            return None
        numbers = [one for one in node.input if one in constants]
        others = [one for one in node.input if one not in constants]
        alone = not waiting and not found
        if node.op_type in ("Log", "Exp") and alone:
            functions.append(node.op_type)
            waiting.append(node.input[0])
        elif node.op_type in _HAND_ON:
            waiting.append(node.input[0])
        elif node.op_type in _TOGETHER and not numbers:
            waiting.extend(others)
        elif node.op_type in _SCALED and others == [node.input[0]] and all(constants[n] > 0 for n in numbers):
            waiting.append(node.input[0])
        elif node.op_type == "Sub" and others == [node.input[1]] and constants[node.input[0]] == 1:
            waiting.append(node.input[1])  # the negative one of two classes
        else:
            found.add(_made_by(node, nodes, shapes.get(name), opset))
    if waiting or len(found) != 1:
        return None
    return _FUNCTIONS.get((*functions, *found)) if functions else found.pop()


def _single_numbers(graph: Any) -> dict[str, float]:  # noqa: ANN401
    """Return the constants of one number each, by name."""
    import onnx

    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            tensors.update((node.output[0], one.t) for one in node.attribute if one.name == "value")
    found = {}
    for name, tensor in tensors.items():
        if prod(tensor.dims) == 1 and tensor.data_type in _FLOATS and not tensor.external_data:
            with suppress(ValueError, TypeError):  # its bytes are too few, or too many
                found[name] = float(onnx.numpy_helper.to_array(tensor).item())
    return found


def _made_by(
    node: Any,  # noqa: ANN401
    nodes: Mapping[str, Any],
    shape: tuple[int | None, ...] | None,
    opset: int,
) -> Ending | None:
    if node.op_type in _SIGMOID:
        return "sigmoid"
    if node.op_type in _CLASSIFIERS:
        return next((_TRANSFORMS.get(one.s) for one in node.attribute if one.name == "post_transform"), None)
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
