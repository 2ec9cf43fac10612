"""A small residual network with random weights, and images for it: what the engines are tried with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.model.network import SEVEN_BITS
from resnet_pipe.preprocess.preprocessing import Preprocessing

CROP = 64
BATCH = 8
OUTPUTS = ("features", "logits")
PREPROCESSING = Preprocessing(resize=CROP, crop=CROP, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
_CLASSES = 10
_CONVOLUTIONS = {
    # name: output channels, input channels, kernel, stride
    "stem": (16, 3, 7, 2),
    "first": (16, 16, 3, 1),
    "second": (16, 16, 3, 1),
    "third": (32, 16, 3, 2),
    "fourth": (32, 32, 3, 1),
    "shortcut": (32, 16, 1, 2),
}
_OPSET, _IR_VERSION = 17, 8
"""Old ones: every version of every engine that is supported reads them."""
_PIXEL_STEP, _PIXEL_ZERO = 0.02, 112
"""Of the quantised input: -2.24 to 2.86, all that normalised pixels can be."""
_STEP = 16 / 255
"""Of the other quantised values: 0 to 16; of these images', the largest is 16.5."""
_LARGEST_WEIGHT = {7: SEVEN_BITS, 8: 127}
"""By the bits of quantised weights."""


def images() -> NDArray[np.uint8]:
    """Return stripes of different widths, directions and colours: uint8, shape (BATCH, CROP, CROP, 3), RGB.

    The cosine similarity of what the network gives for two of them is below 0.99, so that mistaking one for
    another is seen in every precision.
    """
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:CROP, :CROP]
    stripes = []
    for number in range(BATCH):
        angle, period = np.pi * number / BATCH, 4 * 2 ** (number % 3)
        wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period)
        middle, height = rng.uniform(0, 255, 3), rng.uniform(-127, 127, 3)
        stripes.append(middle + height * wave[:, :, np.newaxis])
    batch: NDArray[np.uint8] = np.stack(stripes).clip(0, 255).astype(np.uint8)
    return batch


def write(path: Path, weight_bits: int | None = None) -> Path:
    """Write the network: two residual blocks, a stem before them, pooling and a classifier behind.

    With `weight_bits` of 7 or 8, its convolutions compute in int8 (QDQ), else in float. With 8, sums of
    products exceed 16 bits: where they saturate, the cosine similarity falls to 0.975.

    Raises:
        ImportError: onnx does not work here.
        OSError: the file cannot be written.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    network = _Network(weight_bits)
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, CROP, CROP])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width])
        for name, width in zip(OUTPUTS, (32, _CLASSES), strict=True)
    ]
    weights = [numpy_helper.from_array(value, name) for name, value in network.weights.items()]
    graph = helper.make_graph(network.nodes, "doctor", [image], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
    model.ir_version = _IR_VERSION
    onnx.save(model, str(path))
    return path


class _Network:
    """The nodes and the weights."""

    def __init__(self, weight_bits: int | None) -> None:
        self._weight_bits = weight_bits
        self._rng = np.random.default_rng(1)
        self.nodes: list[Any] = []
        self.weights: dict[str, NDArray[Any]] = {}
        stem = self._relu(self._convolution("stem", "input"))
        window = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
        pooled = self._add("MaxPool", [stem], "pooled", **window)
        branch = self._convolution("second", self._relu(self._convolution("first", pooled)))
        block = self._relu(self._add("Add", [branch, pooled], "one"))
        branch = self._convolution("fourth", self._relu(self._convolution("third", block)))
        block = self._relu(self._add("Add", [branch, self._convolution("shortcut", block)], "two"))
        self._add("Flatten", [self._add("GlobalAveragePool", [block], "means")], "features", axis=1)
        self.weights["classifier"] = self._random((_CLASSES, 32))
        self.weights["bias"] = self._random((_CLASSES,))
        self._add("Gemm", ["features", "classifier", "bias"], "logits", transB=1)

    def _add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:  # noqa: ANN401 - as of ONNX
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def _relu(self, value: str) -> str:
        return self._add("Relu", [value], f"{value}_relu")

    def _convolution(self, name: str, value: str) -> str:
        outputs, inputs, kernel, stride = _CONVOLUTIONS[name]
        # Cut off, so that every second weight is as large as one can be: sums are, then.
        weight = self._random((outputs, inputs, kernel, kernel)).clip(-0.5, 0.5)
        weight *= np.sqrt(12 / (inputs * kernel**2))
        arguments = [self._in_int8(value, name), self._weight(name, weight)]
        return self._add("Conv", arguments, name, strides=[stride, stride], pads=[kernel // 2] * 4)

    def _weight(self, name: str, weight: NDArray[np.float32]) -> str:
        tensor = f"{name}_weight"
        if self._weight_bits is None:
            self.weights[tensor] = weight
            return tensor
        step = np.float32(np.abs(weight).max() / _LARGEST_WEIGHT[self._weight_bits])
        self.weights[f"{tensor}_int8"] = np.round(weight / step).astype(np.int8)
        scale = self._scale(tensor, step, np.int8(0))
        return self._add("DequantizeLinear", [f"{tensor}_int8", *scale], tensor)

    def _in_int8(self, value: str, convolution: str) -> str:
        """Round what a convolution is given, if the network is quantised."""
        if self._weight_bits is None:
            return value
        step, zero = (_PIXEL_STEP, _PIXEL_ZERO) if value == "input" else (_STEP, 0)
        rounded = f"{convolution}_input"
        scale = self._scale(rounded, np.float32(step), np.uint8(zero))
        self._add("QuantizeLinear", [value, *scale], f"{rounded}_uint8")
        return self._add("DequantizeLinear", [f"{rounded}_uint8", *scale], rounded)

    def _scale(self, tensor: str, step: np.float32, zero: np.uint8 | np.int8) -> list[str]:
        self.weights[f"{tensor}_step"], self.weights[f"{tensor}_zero"] = np.array(step), np.array(zero)
        return [f"{tensor}_step", f"{tensor}_zero"]

    def _random(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        return self._rng.normal(size=shape).astype(np.float32)
