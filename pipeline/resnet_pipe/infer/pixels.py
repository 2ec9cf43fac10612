"""An ONNX network that takes uint8 RGB pixels: normalisation as a part of its graph."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from resnet_pipe.infer import extract
from resnet_pipe.preprocess.network_input import NetworkInput

if TYPE_CHECKING:
    from onnx import ModelProto

INPUT = "resnet_pipe/pixels"
"""Name of the new input: uint8, shape (N, H, W, 3), RGB."""


def read(
    path: Path, preprocessing: NetworkInput, half: bool, outputs: Collection[str] | None = None
) -> bytes:
    """Return a network with one float input (N, 3, H, W) as one that normalises: its only input is `INPUT`.

    With `half`, it computes in float16, and its outputs stay float32. `outputs` are those to keep; None: all.
    """
    model = extract.load(path, outputs)
    if half:
        from onnxruntime.transformers.float16 import convert_float_to_float16

        model = convert_float_to_float16(model, keep_io_types=True)
    _normalize(model, preprocessing)
    data: bytes = model.SerializeToString()
    return data


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
        helper.make_node("Transpose", [INPUT], [_name("planes")], perm=[0, 3, 1, 2]),
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
    shape = [batch.dim_value or "N", *preprocessing.size, 3]
    image.CopyFrom(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, shape))


def _name(part: str) -> str:
    return f"resnet_pipe/{part}"
