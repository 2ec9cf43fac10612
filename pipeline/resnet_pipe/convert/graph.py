"""An ONNX graph from any exporter brought into one form, which every engine executes whole."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from math import prod
from typing import Any, NamedTuple

import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper

from resnet_pipe.convert.known import constants_of, shapes_of
from resnet_pipe.convert.simplify import simplified
from resnet_pipe.errors import ModelError

NAME, INPUT, LOGITS, FEATURES = "network", "input", "logits", "features"
"""Of a clean graph, and of what is in it."""
_HAND_ON = ("Identity", "Dropout", "Cast", "Flatten", "Reshape", "Squeeze", "Unsqueeze")
"""Operators that give the numbers they are given, if in another shape."""
_AFTER_CLASSIFIER = (*_HAND_ON, "Softmax", "LogSoftmax", "Sigmoid")
_ROWS = 2
"""Axes of an output with one row of numbers for each image."""
_LINEAR = ("Gemm", "MatMul", "Conv")
_CALLED_FEATURES = ("features", "embedding", "embeddings", "image_embeds", "pooler_output")
"""Names of outputs that are no logits, even if a linear layer makes them."""

_TRACED = "export it traced, not scripted, and without what follows its classifier: no branch, no loop"
_INSTEAD = {
    "Concat": "export one of the heads that are joined there as an output of its own, called `logits`",
    **dict.fromkeys(("If", "Loop", "Scan"), _TRACED),
}
"""What to do about an operator that makes an output."""


class Clean(NamedTuple):
    """A clean graph, and which output of the given one each of its outputs was, by that one's name."""

    proto: ModelProto
    names: dict[str, str]


def clean(proto: ModelProto) -> Clean:
    """Return a graph with the input `input` and the outputs `logits` and `features`, or one of them.

    It is simplified. The features are what the last linear layer sees, if they are no output yet. The given
    graph may be changed.

    Raises:
        ModelError: it cannot be brought into this form.
    """
    proto = simplified(proto)
    given = [value.name for value in proto.graph.output]
    names = _name_outputs(proto)
    _rename(proto, {_input(proto): INPUT})
    finish(proto)
    return Clean(proto, {name: names[name] for name in given if name in names})


def finish(proto: ModelProto) -> None:
    """Remove what no engine reads from a graph whose names are right; a `ModelError` if it is invalid."""
    _strip(proto)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"the network is not valid ONNX: {error}", "export it again") from None


def width(proto: ModelProto, name: str) -> int | None:
    """Return how many values an output has for an image; None without such an output of rows."""
    shapes = [value.type.tensor_type.shape.dim for value in proto.graph.output if value.name == name]
    return shapes[0][1].dim_value if shapes and len(shapes[0]) == _ROWS else None


def multiply_accumulates(proto: ModelProto, size: tuple[int, int]) -> int:
    """Count those of the convolutions and the classifier for one image of a height and width."""
    sized = copy.deepcopy(proto)
    for axis, length in zip(sized.graph.input[0].type.tensor_type.shape.dim[2:], size, strict=True):
        axis.dim_value = length
    shapes = shapes_of(sized)
    weights = {tensor.name: prod(tensor.dims) for tensor in proto.graph.initializer}
    return sum(
        weights[node.input[1]] * prod(shapes[node.output[0]][2:])
        for node in proto.graph.node
        if node.op_type in ("Conv", "Gemm")
    )


def _name_outputs(proto: ModelProto) -> dict[str, str]:
    """Make the outputs `logits` and `features`, and drop all others; return their names before."""
    graph = proto.graph
    makers = {name: node for node in graph.node for name in node.output}
    constants = constants_of(proto)
    classifiers = {
        value.name: node
        for value in graph.output
        if value.name not in _CALLED_FEATURES
        and (node := _classifier(value.name, makers, constants)) is not None
    }
    others = [value.name for value in graph.output if value.name not in classifiers]
    given = [value.name for value in graph.output if len(value.type.tensor_type.shape.dim) == 2]
    if LOGITS in classifiers:
        classifiers = {LOGITS: classifiers[LOGITS]}
    if len(classifiers) > 1:
        raise ModelError(
            f"several outputs could be the logits: {', '.join(classifiers)}", "export it with one of them"
        )
    names: dict[str, str] = {}
    for name, classifier in classifiers.items():  # one at most
        names[name] = LOGITS
        seen = next(one for one in classifier.input if one not in constants)
        names[FEATURES if FEATURES in given else _flat(graph, classifier, seen)] = FEATURES
    if not classifiers:
        pooled = [name for name in others if _is_pooled(name, makers)]
        if len(pooled) != 1:
            raise _neither(others, makers)
        names[pooled[0]] = FEATURES
    _rename(proto, names)
    image = next(value for value in graph.input if value.name == _input(proto))  # weights may be before it
    batch = image.type.tensor_type.shape.dim[0]
    del graph.output[:]
    for name in sorted(names.values(), reverse=True):  # the logits first
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    widths = shapes_of(proto)
    for value in graph.output:
        if len(widths.get(value.name, [])) == 2:
            shape = value.type.tensor_type.shape
            shape.dim.add().CopyFrom(batch)
            shape.dim.add().dim_value = widths[value.name][1]
    return names


def _neither(names: list[str], makers: Mapping[str, NodeProto]) -> ModelError:
    """Return the error about outputs of which none can be told to be logits, or features."""
    kinds = {name: makers[name].op_type for name in names if name in makers}
    found = ", ".join(f"{name} (made by {kinds[name]})" if name in kinds else name for name in names)
    remedy = "export it with its classifier, or with its pooled features as the only output"
    for kind, advice in _INSTEAD.items():
        if kind in kinds.values():
            remedy = f"{advice}; or run the file as it is: set `preprocess` in the job"
    problem = f"no output holds logits or pooled features; its outputs: {found or 'none'}"
    return ModelError(problem, remedy)


def _classifier(
    name: str, makers: Mapping[str, NodeProto], constants: Mapping[str, TensorProto]
) -> NodeProto | None:
    """Return the linear layer that makes an output; None if something else does."""
    for _ in range(len(makers)):
        node = makers.get(name)
        if node is None:
            return None
        data = [one for one in node.input if one not in constants]
        if node.op_type in _LINEAR and len(data) == 1:
            return node if node.op_type != "Conv" or _is_pooled(data[0], makers) else None
        if not (node.op_type in _AFTER_CLASSIFIER or (node.op_type == "Add" and len(data) == 1)):
            return None
        name = data[0]
    return None


def _is_pooled(name: str, makers: Mapping[str, NodeProto]) -> bool:
    """Tell whether a value is what a pooling gives, or that in another shape."""
    for _ in range(len(makers)):
        node = makers.get(name)
        if node is None or node.op_type not in _HAND_ON:
            return node is not None and "Pool" in node.op_type
        name = node.input[0]
    return False


def _flat(graph: Any, classifier: NodeProto, seen: str) -> str:  # noqa: ANN401 - protobuf messages are untyped
    """Return the name of the features that a classifier sees, with one row for each image."""
    if classifier.op_type != "Conv":
        return seen
    place = next(index for index, node in enumerate(graph.node) if node.output == classifier.output)
    name = f"{seen}_flat"
    graph.node.insert(place, helper.make_node("Flatten", [seen], [name], axis=1))
    return name


def _input(proto: ModelProto) -> str:
    weights = {tensor.name for tensor in proto.graph.initializer}
    return str(next(value.name for value in proto.graph.input if value.name not in weights))


def _rename(proto: ModelProto, names: Mapping[str, str]) -> None:
    """Give values other names; what has one of these names already gets out of the way."""
    graph = proto.graph
    known = {name for node in graph.node for name in (*node.input, *node.output)} - names.keys()
    away = {name: f"{name}_before" for name in known.intersection(names.values())}
    renamed: Callable[[str], str] = lambda name: names.get(name) or away.get(name, name)  # noqa: E731
    for node in graph.node:
        node.input[:] = map(renamed, node.input)
        node.output[:] = map(renamed, node.output)
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = renamed(value.name)


def _strip(proto: ModelProto) -> None:
    """Remove what no engine reads: unused weights, inner shapes, notes of the exporter and of the machine."""
    graph = proto.graph
    used = {name for node in graph.node for name in node.input}
    kept = sorted((one for one in graph.initializer if one.name in used), key=lambda tensor: tensor.name)
    inputs = [value for value in graph.input if value.name == INPUT]
    for field, values in ((graph.initializer, kept), (graph.input, inputs)):
        copies = [type(one).FromString(one.SerializeToString()) for one in values]
        del field[:]
        field.extend(copies)
    del graph.value_info[:], proto.metadata_props[:]
    proto.ir_version = max(proto.ir_version, 4)  # before, weights had to be inputs as well
    graph.name, graph.doc_string, proto.doc_string = NAME, "", ""
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
