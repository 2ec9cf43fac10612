"""A graph that computes shapes from the size of its batch, with the shapes written down instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper

from resnet_pipe.convert.known import drop_unused, shapes_of

_SIZES = (5, 7)
"""Of batches that a graph is simplified for, to see what depends on them. Few other lengths are the same."""
_AS_IT_IS, _REST = 0, -1
"""In the target of a Reshape: the length that is there, and what is left."""

_Shapes = Mapping[str, list[int]]
_Values = NDArray[Any]


def written_down(proto: ModelProto, simplified: Callable[[ModelProto], ModelProto]) -> ModelProto:
    """Return a graph simplified, and if possible without shapes that are computed from its batch.

    Exporters write `x.view(len(x), 4, -1)` as Shape, Gather, Concat and Reshape; cv2.dnn's classic engine,
    which is the one with CUDA, and the engines torch and mlx take no target that is computed. So the graph
    is simplified for two sizes of batches. Where both results have the same nodes, and differ in nothing
    but targets of Reshape and Resize, these become what fits every batch. Other graphs are simplified as
    they are.
    """
    batch, *others = image_of(proto).type.tensor_type.shape.dim
    computed = any(node.op_type == "Shape" for node in proto.graph.node)
    if batch.HasField("dim_value") or not all(axis.dim_value for axis in others) or not computed:
        return simplified(proto)
    one, other = (simplified(_for(proto, size)) for size in _SIZES)
    if not _fit_every_batch(one, other):
        return simplified(proto)
    for ours, theirs in zip(_lengths(one), _lengths(other), strict=True):
        if ours.dim_value != theirs.dim_value:
            ours.CopyFrom(batch)
    del one.graph.value_info[:]
    return one


def image_of(proto: ModelProto) -> Any:  # noqa: ANN401 - protobuf messages are untyped
    """Return the first input that is no weight."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    return next(value for value in proto.graph.input if value.name not in weights)


def _for(proto: ModelProto, size: int) -> ModelProto:
    """Return a copy for batches of one size, whose outputs have no shapes: they would contradict it."""
    fixed = ModelProto()
    fixed.CopyFrom(proto)
    image_of(fixed).type.tensor_type.shape.dim[0].dim_value = size
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    return fixed


def _lengths(proto: ModelProto) -> Iterator[Any]:
    """Yield the lengths of all axes of the image and of the outputs."""
    for value in (image_of(proto), *proto.graph.output):
        yield from value.type.tensor_type.shape.dim


def _fit_every_batch(one: ModelProto, other: ModelProto) -> bool:
    """Change a graph for one size of batches so that it fits all; False if that cannot be done.

    `other` is the same graph for another size.
    """
    ours, theirs = ({tensor.name: tensor for tensor in each.graph.initializer} for each in (one, other))
    same = [*map(_bytes, one.graph.node)] == [*map(_bytes, other.graph.node)]
    if not same or ours.keys() != theirs.keys():
        return False
    shapes = shapes_of(one)
    differing = {name for name, tensor in ours.items() if _bytes(tensor) != _bytes(theirs[name])}
    for node in one.graph.node:
        for name in differing.intersection(node.input):
            kind, place = node.op_type, list(node.input).index(name)
            values = numpy_helper.to_array(ours[name]), numpy_helper.to_array(theirs[name])
            if (kind, place) not in _FORMS or len(values[0]) != len(values[1]):
                return False
            made = _FORMS[kind, place](node, *values, shapes)
            if made is None:
                return False
            target = f"{node.output[0]}_target"
            one.graph.initializer.append(numpy_helper.from_array(made, target))
            node.input[:] = [*node.input[: min(place, 2)], target]  # scales stand before sizes
    drop_unused(one)
    # What is left of them is an output, or is taken inside a branch or a loop.
    return differing.isdisjoint(tensor.name for tensor in one.graph.initializer)


def _shape(node: NodeProto, ours: _Values, theirs: _Values, shapes: _Shapes) -> _Values | None:
    """Return what a Reshape is to make of any batch; None if there is no one form."""
    places = [place for place, length in enumerate(ours) if length != theirs[place]]
    literal = any(one.name == "allowzero" and one.i for one in node.attribute)
    made = ours.copy()
    if len(places) == 1 and _REST not in ours:
        made[places] = _REST
    elif places == [0] and shapes.get(node.input[0], [0])[0] == ours[0] and not literal:
        made[0] = _AS_IT_IS
    else:
        return None
    return made


def _scales(node: NodeProto, ours: _Values, _theirs: _Values, shapes: _Shapes) -> _Values | None:
    """Return how many times as long a Resize is to make the axes of any batch; None if not whole times."""
    before = np.array(shapes.get(node.input[0], [0]))
    if len(before) != len(ours) or before[0] != ours[0] or 0 in before or np.any(ours % before):
        return None
    return np.asarray(ours // before, np.float32)


_FORMS: Mapping[tuple[str, int], Callable[[NodeProto, _Values, _Values, _Shapes], _Values | None]] = {
    ("Reshape", 1): _shape,
    ("Resize", 3): _scales,
}
"""By operator, and which of its inputs is a target."""


def _bytes(message: Any) -> bytes:  # noqa: ANN401
    return bytes(message.SerializeToString(deterministic=True))
