"""An ONNX graph of half or double precision in float32, which every engine computes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper

_OTHERS = (TensorProto.FLOAT16, TensorProto.DOUBLE)


def convert(proto: ModelProto) -> None:
    """Turn half and double precision into float32: weights, constants, casts, inputs and outputs."""
    graph = proto.graph
    for tensor in _tensors(proto):
        if tensor.data_type in _OTHERS:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i in _OTHERS:
                attribute.i = TensorProto.FLOAT
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type in _OTHERS:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    del graph.value_info[:]


def _tensors(proto: ModelProto) -> Iterator[TensorProto]:
    yield from proto.graph.initializer
    for node in proto.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
