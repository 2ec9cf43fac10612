"""An ONNX network that takes uint8 RGB pixels: normalisation as a part of its graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from resnet_pipe.model import Preprocessing

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

INPUT = "resnet_pipe/pixels"
"""Name of the new input: uint8, shape (N, crop, crop, 3), RGB."""


def take_pixels(model: ModelProto, preprocessing: Preprocessing) -> int | None:
    """Put the normalisation in front of a network, in place.

    The uint8 values are transposed first, because a quarter of the bytes has to be moved. Then come one
    multiplication and one addition: value / (255 std) - mean / std.

    Args:
        model: has one float32 input of shape (N, 3, H, W); it becomes `INPUT`.
        preprocessing: mean, std, channel order and size.

    Returns:
        the batch size that the network is made for; None if it takes any.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    image = next(value for value in graph.input if value.name not in weights)
    mean, std = (np.array(values).reshape(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    constants = {"scale": 1 / (255 * std), "shift": -mean / std}
    nodes = [
        helper.make_node("Transpose", [INPUT], [_name("planes")], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", [_name("planes")], [_name("values")], to=TensorProto.FLOAT),
        helper.make_node("Mul", [_name("values"), _name("scale")], [_name("scaled")]),
        helper.make_node("Add", [_name("scaled"), _name("shift")], [image.name]),
    ]
    graph.initializer.extend(
        numpy_helper.from_array(value.astype(np.float32), _name(name)) for name, value in constants.items()
    )
    if preprocessing.color == "bgr":
        graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0]), _name("order")))
        nodes.insert(1, helper.make_node("Gather", [_name("planes"), _name("order")], [_name("bgr")], axis=1))
        nodes[2].input[0] = _name("bgr")
    _put_in_front(model, nodes)
    batch = image.type.tensor_type.shape.dim[0]
    fixed = batch.dim_value if batch.HasField("dim_value") and batch.dim_value > 0 else None
    shape = [fixed or "N", preprocessing.crop, preprocessing.crop, 3]
    image.CopyFrom(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, shape))
    return fixed


def _name(part: str) -> str:
    return f"resnet_pipe/{part}"


def _put_in_front(model: ModelProto, nodes: list[NodeProto]) -> None:
    nodes.extend(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
