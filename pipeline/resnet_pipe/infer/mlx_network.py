"""A graph as MLX functions, from uint8 pixels to float32 outputs.

MLX's images are NHWC: every value with four axes is kept so, and brought into the NCHW form, which costs
nothing until it is read, where an operation speaks of axes or of the order of values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial, reduce

import mlx.core as mx

from resnet_pipe.infer.onnx_graph import operations as op
from resnet_pipe.infer.onnx_graph.graph import Graph
from resnet_pipe.preprocess.network_input import NetworkInput

Function = Callable[..., mx.array]


class MlxNetwork:
    """A network whose weights lie on the default device.

    Convolutions compute in `dtype`. Pooled features and classifiers are float32 at every precision: they take
    no time, and it is they that are kept.
    """

    def __init__(self, graph: Graph, preprocessing: NetworkInput, dtype: mx.Dtype) -> None:
        self._graph = graph
        self._dtype = dtype
        self._as_is = preprocessing.shape is not None
        self._bgr = preprocessing.color == "bgr"
        self._mean, self._std = mx.array(preprocessing.mean), mx.array(preprocessing.std)
        self._constants = {name: _nhwc(mx.array(value)) for name, value in graph.constants.items()}
        self._program = [(self._function(node.operation), node.inputs, node.output) for node in graph.nodes]

    def __call__(self, pixels: mx.array) -> dict[str, mx.array]:
        """Return all outputs, float32, shape (n, ...), not evaluated, for uint8 pixels (n, H, W, 3), RGB."""
        values = {**self._constants, self._graph.image: self._image(pixels)}
        for run, inputs, output in self._program:
            values[output] = run(*(values[name] for name in inputs))
        return {name: _nchw(values[name]).astype(mx.float32) for name in self._graph.outputs}

    def _image(self, pixels: mx.array) -> mx.array:
        """Return the network's input, in NHWC."""
        if self._as_is:
            return _nhwc(pixels)
        image = pixels[..., ::-1] if self._bgr else pixels
        return (image.astype(mx.float32) / 255 - self._mean) / self._std

    def _function(self, operation: op.Operation) -> Function:
        match operation:
            case op.Conv():
                return self._convolution(operation)
            case op.MaxPool(window):
                return partial(_max_pool, window)
            case op.AveragePool(window, count_pads):
                return partial(_average_pool, window, count_pads)
            case op.Mean(axes, keep):
                return _in_nchw(lambda x: x.astype(mx.float32).mean(axes, keepdims=keep))
            case op.Linear():
                weight, bias = _evaluated(mx.array(operation.weight.T), mx.array(operation.bias))
                return _in_nchw(lambda x: x.astype(mx.float32) @ weight + bias)
            case op.ScaleShift():
                scale, shift = _evaluated(mx.array(operation.scale), mx.array(operation.shift))
                return lambda x: (x * scale + shift).astype(x.dtype)
            case op.Repeat((down, right)):
                return lambda x: mx.repeat(mx.repeat(x, down, axis=1), right, axis=2)
            case op.Clip(low, high):
                return lambda x: mx.clip(x, low, high)
            case op.Reshape(shape):
                return _in_nchw(lambda x: x.reshape([n or x.shape[axis] for axis, n in enumerate(shape)]))
            case op.Flatten(axis):
                return _in_nchw(lambda x: x.reshape(math.prod(x.shape[:axis]), -1))
            case op.Softmax(axis, log):
                return _in_nchw(lambda x: _softmax(x.astype(mx.float32), axis, log))
            case op.Squeeze(axes):
                return _in_nchw(lambda x: x.squeeze(axes))
            case op.Transpose(order):
                return _in_nchw(lambda x: x.transpose(order or [*range(x.ndim)][::-1]))
            case op.Slice() | op.Unsqueeze():
                return _in_nchw(lambda x: x[operation.of(x.ndim)])
            case op.Take(axis, places, alone):
                where: int | mx.array = places[0] if alone else mx.array(places)
                return _in_nchw(lambda x: mx.take(x, where % x.shape[axis], axis))
            case op.Concat(axis):
                return _in_nchw(lambda *values: mx.concatenate([*values], axis))
            case op.Plain.PRODUCT:
                return _in_nchw(lambda x, y: x.astype(mx.float32) @ y.astype(mx.float32))
            case op.Plain():
                return _matched(_PLAIN[operation]) if operation in op.OF_TWO else _PLAIN[operation]

    def _convolution(self, conv: op.Conv) -> Function:
        weight, bias = (mx.array(value).astype(self._dtype) for value in (conv.weight, conv.bias))
        weight, bias = _evaluated(mx.contiguous(_nhwc(weight)), bias)
        top, left, bottom, right = conv.window.pads

        def run(x: mx.array) -> mx.array:
            x = mx.conv_general(
                x.astype(self._dtype),
                weight,
                conv.window.strides,
                ((top, left), (bottom, right)),
                conv.window.dilations,
                groups=conv.groups,
            )
            return x + bias

        return run


def _evaluated(*weights: mx.array) -> tuple[mx.array, ...]:
    """Compute weights now, once: MLX would do it with the first result that needs them."""
    mx.eval(weights)
    return weights


def _nchw(x: mx.array) -> mx.array:
    return x.transpose(0, 3, 1, 2) if x.ndim == 4 else x


def _nhwc(x: mx.array) -> mx.array:
    return x.transpose(0, 2, 3, 1) if x.ndim == 4 else x


def _in_nchw(function: Function) -> Function:
    return lambda *values: _nhwc(function(*map(_nchw, values)))


def _matched(function: Function) -> Function:
    """Return a function of two values whose shapes are matched from the last axis, in the NCHW form."""
    return lambda x, y: function(x, y) if x.ndim == y.ndim else _in_nchw(function)(x, y)


_PLAIN: Mapping[op.Plain, Function] = {
    op.Plain.ADD: mx.add,
    op.Plain.SUBTRACT: mx.subtract,
    op.Plain.MULTIPLY: mx.multiply,
    op.Plain.DIVIDE: mx.divide,
    op.Plain.POWER: mx.power,
    op.Plain.IDENTITY: lambda x: x,
    op.Plain.RELU: lambda x: mx.maximum(x, 0),
    op.Plain.SIGMOID: lambda x: mx.sigmoid(x.astype(mx.float32)),
    op.Plain.TANH: lambda x: mx.tanh(x.astype(mx.float32)),
    op.Plain.EXP: lambda x: mx.exp(x.astype(mx.float32)),
    op.Plain.ROOT: lambda x: mx.sqrt(x.astype(mx.float32)),
}


def _softmax(x: mx.array, axis: int, log: bool) -> mx.array:
    return x - mx.logsumexp(x, axis, keepdims=True) if log else mx.softmax(x, axis)


def _max_pool(window: op.Window, x: mx.array) -> mx.array:
    x = _pad(x, window.pads, -math.inf)
    return reduce(mx.maximum, _looks(window, x, -math.inf))


def _average_pool(window: op.Window, count_pads: bool, x: mx.array) -> mx.array:
    counted = mx.ones((1, *x.shape[1:3], 1))
    padded, counted = _pad(x, window.pads, 0), _pad(counted, window.pads, 1 if count_pads else 0)
    total, count = (reduce(mx.add, _looks(window, values, 0)) for values in (padded, counted))
    return (total / count).astype(x.dtype)


def _pad(x: mx.array, pads: op.Pads, value: float) -> mx.array:
    top, left, bottom, right = pads
    widths = [(0, 0), (top, bottom), (left, right), (0, 0)]
    return mx.pad(x, widths, constant_values=mx.array(value, x.dtype))


def _looks(window: op.Window, x: mx.array, beyond: float) -> list[mx.array]:
    """Return what each place of the kernel sees of a padded x, each of the size of the pooling's result.

    A window that ends outside sees `beyond` there.
    """
    counts, ends = [], []
    for axis in (0, 1):
        size, reach = x.shape[1 + axis], window.dilations[axis] * (window.kernel[axis] - 1) + 1
        stride = window.strides[axis]
        count = (size - reach) // stride + 1
        # A window that begins in the last pads is none: https://pytorch.org/docs/stable/nn.html, MaxPool2d.
        if window.ceil and (size - reach) % stride and count * stride < size - window.pads[2 + axis]:
            count += 1
        counts.append(count)
        ends.append(max(0, (count - 1) * stride + reach - size))
    x = _pad(x, (0, 0, ends[0], ends[1]), beyond)
    (height, width), (down, right) = counts, window.strides
    tops = [row * window.dilations[0] for row in range(window.kernel[0])]
    lefts = [column * window.dilations[1] for column in range(window.kernel[1])]
    return [
        x[:, top : top + (height - 1) * down + 1 : down, left : left + (width - 1) * right + 1 : right]
        for top in tops
        for left in lefts
    ]
