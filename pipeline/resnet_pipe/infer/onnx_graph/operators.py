"""Reads each operator of ONNX that networks for images use."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate

import numpy as np

from resnet_pipe.infer.onnx_graph import operations as op
from resnet_pipe.infer.onnx_graph.node import MOST_AXES, NodeReader, is_axis


def operation(node: NodeReader) -> op.Operation | list[op.Operation]:
    """Return what a node does, or what makes each of its outputs.

    A `ModelError` names an operator, a setting or weights not known here.
    """
    if node.operator not in _READERS:
        raise node.error("the engines torch and mlx do not have this operator")
    return _READERS[node.operator](node)


def _conv(node: NodeReader) -> op.Operation:
    weight = node.weight(1, 4)
    groups = node.integer("group", 1, 1, weight.shape[0])
    bias = node.weight(2, 1) if node.has(2) else np.zeros(len(weight), np.float32)
    if len(bias) != len(weight) or len(weight) % groups:
        raise node.error(f"weights {weight.shape}, {len(bias)} biases and {groups} groups do not fit")
    return op.Conv(weight, bias, node.window((weight.shape[2], weight.shape[3])), groups)


def _max_pool(node: NodeReader) -> op.Operation:
    node.integer("storage_order", 0, 0, 0)
    return op.MaxPool(node.window(ceil=True))


def _average_pool(node: NodeReader) -> op.Operation:
    count_pads = bool(node.integer("count_include_pad", 0, 0, 1))
    pool = op.AveragePool(node.window(ceil=True, dilated=False), count_pads)
    if not pool.window.symmetric:
        raise node.error(f"pads {pool.window.pads} are not the same on both sides")
    return pool


def _reduce_mean(node: NodeReader) -> op.Operation:
    node.integer("noop_with_empty_axes", 0, 0, 0)
    return op.Mean(node.axes(), keep=node.integer("keepdims", 1, 0, 1) == 1)


def _batch_norm(node: NodeReader) -> op.Operation:
    node.ignore("momentum", "spatial")
    node.integer("training_mode", 0, 0, 0)
    epsilon = node.real("epsilon", 1e-5)
    factor, offset, mean, variance = (node.weight(index, 1).astype(np.float64) for index in range(1, 5))
    if not len(factor) == len(offset) == len(mean) == len(variance) or np.any(variance + epsilon <= 0):
        raise node.error("its mean, variance, scale and bias do not fit")
    scale = factor / np.sqrt(variance + epsilon)
    return op.ScaleShift(scale.astype(np.float32), (offset - mean * scale).astype(np.float32))


def _gemm(node: NodeReader) -> op.Operation:
    node.integer("transA", 0, 0, 0)
    weight = node.weight(1, 2) * np.float32(node.real("alpha", 1.0))
    weight = weight if node.integer("transB", 0, 0, 1) else weight.T
    beta = np.float32(node.real("beta", 1.0))
    bias = node.weight(2) * beta if node.has(2) else np.zeros(1, np.float32)
    if bias.size not in (1, len(weight)):
        raise node.error(f"weights {weight.shape} and a bias {bias.shape} do not fit")
    bias = np.broadcast_to(bias.reshape(-1), len(weight))
    return op.Linear(np.ascontiguousarray(weight), np.ascontiguousarray(bias))


def _matmul(node: NodeReader) -> op.Operation:
    if not node.is_constant(1) or node.array(1).ndim != 2:
        return op.Plain.PRODUCT
    weight = np.ascontiguousarray(node.weight(1, 2).T)
    return op.Linear(weight, np.zeros(len(weight), np.float32))


def _resize(node: NodeReader) -> op.Operation:
    node.ignore("cubic_coeff_a", "extrapolation_value", "keep_aspect_ratio_policy")
    node.integer("antialias", 0, 0, 0)
    node.integer("exclude_outside", 0, 0, 0)
    how = node.text("mode", "nearest"), node.text("nearest_mode", "round_prefer_floor")
    where = node.text("coordinate_transformation_mode", "half_pixel")
    scales = node.weight(2, 1).tolist() if node.has(2) else []
    whole = len(scales) == 4 and all(scale == int(scale) >= 1 for scale in scales) and scales[:2] == [1, 1]
    if how != ("nearest", "floor") or where != "asymmetric" or not whole:
        raise node.error("the engines torch and mlx enlarge by whole numbers only, without interpolation")
    return op.Repeat((int(scales[2]), int(scales[3])))


def _clip(node: NodeReader) -> op.Operation:
    low, high = (
        float(node.weight(index).flat[0]) if node.has(index) else node.real(name, default)
        for index, name, default in ((1, "min", -math.inf), (2, "max", math.inf))
    )
    return op.Clip(low, high)


def _reshape(node: NodeReader) -> op.Operation:
    node.integer("allowzero", 0, 0, 0)
    shape = node.array(1).ravel().tolist()
    if not 1 <= len(shape) <= MOST_AXES or not all(type(n) is int and -1 <= n < 2**31 for n in shape):
        raise node.error(f"shape is {shape!r}, not 1 to {MOST_AXES} lengths")
    return op.Reshape(tuple(shape))


def _transpose(node: NodeReader) -> op.Operation:
    order = node.attribute_numbers("perm")
    if order is not None and sorted(order) != [*range(len(order))]:
        raise node.error(f"perm is {order!r}, which is no order of axes")
    return op.Transpose(None if order is None else tuple(order))


def _slice(node: NodeReader) -> op.Operation:
    begins, ends = node.numbers(1), node.numbers(2)
    axes = node.numbers(3) if node.has(3) else [*range(len(begins))]
    steps = node.numbers(4) if node.has(4) else [1] * len(begins)
    fit = len(begins) == len(ends) == len(axes) == len(steps) and all(map(is_axis, axes))
    if not fit or min(steps, default=1) < 1:
        raise node.error(f"axes {axes} do not fit, or its steps {steps} are not from 1 on")
    return op.Slice(tuple(zip(axes, begins, ends, steps, strict=True)))


def _split(node: NodeReader) -> list[op.Operation]:
    axis, lengths = node.axis(0), node.numbers(1) if node.has(1) else node.attribute_numbers("split")
    if lengths is None or min(lengths, default=0) < 0:
        raise node.error("it does not say how long its parts are")
    ends = [*accumulate(lengths)]
    return [op.Slice(((axis, end - length, end, 1),)) for length, end in zip(lengths, ends, strict=True)]


def _gather(node: NodeReader) -> op.Operation:
    places = node.array(1)
    if places.ndim > 1 or places.size == 0:
        raise node.error(f"its places have the shape {places.shape}: no list")
    return op.Take(node.axis(0), tuple(node.numbers(1)), alone=places.ndim == 0)


def _softmax(node: NodeReader, log: bool = False) -> op.Operation:
    return op.Softmax(node.axis(-1 if node.opset >= 13 else 1), log)


def _cast(node: NodeReader) -> op.Operation:
    node.ignore("saturate", "round_mode")
    to = node.integer("to", 0, 1, 255)
    if to not in (1, 10, 11, 16):  # ONNX's type codes of float32, float16, float64 and bfloat16
        raise node.error("the engines torch and mlx compute in floating point only")
    return op.Plain.IDENTITY  # they decide themselves in which


def _dropout(node: NodeReader) -> op.Operation:
    node.ignore("ratio", "seed")
    if node.has(2) and node.array(2).any():
        raise node.error("it is in training mode")
    return op.Plain.IDENTITY


_READERS: dict[str, Callable[[NodeReader], op.Operation | list[op.Operation]]] = {
    "Conv": _conv,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": lambda _: op.Mean((2, 3), keep=True),
    "ReduceMean": _reduce_mean,
    "BatchNormalization": _batch_norm,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Add": lambda _: op.Plain.ADD,
    "Sub": lambda _: op.Plain.SUBTRACT,
    "Mul": lambda _: op.Plain.MULTIPLY,
    "Div": lambda _: op.Plain.DIVIDE,
    "Pow": lambda _: op.Plain.POWER,
    "Relu": lambda _: op.Plain.RELU,
    "Clip": _clip,
    "Resize": _resize,
    "Reshape": _reshape,
    "Flatten": lambda node: op.Flatten(node.integer("axis", 1, 0, 4)),
    "Softmax": _softmax,
    "LogSoftmax": lambda node: _softmax(node, log=True),
    "Sigmoid": lambda _: op.Plain.SIGMOID,
    "Tanh": lambda _: op.Plain.TANH,
    "Exp": lambda _: op.Plain.EXP,
    "Sqrt": lambda _: op.Plain.ROOT,
    "Squeeze": lambda node: op.Squeeze(node.axes()),
    "Unsqueeze": lambda node: op.Unsqueeze(node.axes()),
    "Transpose": _transpose,
    "Slice": _slice,
    "Split": _split,
    "Gather": _gather,
    "Concat": lambda node: op.Concat(node.axis(0)),
    "Cast": _cast,
    "Identity": lambda _: op.Plain.IDENTITY,
    "Dropout": _dropout,
}
"""By ONNX's name of the operator, https://onnx.ai/onnx/operators."""
