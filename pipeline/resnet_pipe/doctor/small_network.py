"""A small residual network with random weights, and images for it: what the engines are tried with."""

from __future__ import annotations

import re
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
_NETWORK = """
<ir_version: 8, opset_import: ["": 17]>
doctor (float[N, 3, 64, 64] input) => (float[N, 32] features, float[N, 10] logits) {
    stem = Conv <strides = [2, 2], pads = [3, 3, 3, 3]> (input, stem_weight)
    stem_relu = Relu (stem)
    pooled = MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (stem_relu)

    first = Conv <strides = [1, 1], pads = [1, 1, 1, 1]> (pooled, first_weight)
    first_relu = Relu (first)
    second = Conv <strides = [1, 1], pads = [1, 1, 1, 1]> (first_relu, second_weight)
    one = Add (second, pooled)
    one_relu = Relu (one)

    third = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (one_relu, third_weight)
    third_relu = Relu (third)
    fourth = Conv <strides = [1, 1], pads = [1, 1, 1, 1]> (third_relu, fourth_weight)
    shortcut = Conv <strides = [2, 2], pads = [0, 0, 0, 0]> (one_relu, shortcut_weight)
    two = Add (fourth, shortcut)
    two_relu = Relu (two)

    means = GlobalAveragePool (two_relu)
    features = Flatten <axis = 1> (means)
    logits = Gemm <transB = 1> (features, classifier, bias)
}
"""
"""In ONNX's own syntax, of old versions: every version of every engine that is supported reads them."""
_CONVOLUTION = re.compile(r"(\w+) = (Conv <.*>) \((\w+), \w+\)")
_IN_INT8 = r"""
    \1_input_uint8 = QuantizeLinear (\3, \1_input_step, \1_input_zero)
    \1_input = DequantizeLinear (\1_input_uint8, \1_input_step, \1_input_zero)
    \1_weight = DequantizeLinear (\1_weight_int8, \1_weight_step, \1_weight_zero)
    \1 = \2 (\1_input, \1_weight)
"""
_WEIGHTS = {
    # convolution: shape of its weights
    "stem": (16, 3, 7, 7),
    "first": (16, 16, 3, 3),
    "second": (16, 16, 3, 3),
    "third": (32, 16, 3, 3),
    "fourth": (32, 32, 3, 3),
    "shortcut": (32, 16, 1, 1),
}
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
    from onnx import numpy_helper, parser

    model = parser.parse_model(_CONVOLUTION.sub(_IN_INT8, _NETWORK) if weight_bits else _NETWORK)
    for name, value in _weights(weight_bits).items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    onnx.save(model, str(path))
    return path


def _weights(bits: int | None) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    weights: dict[str, Any] = {}
    for name, shape in _WEIGHTS.items():
        # Cut off, so that every second weight is as large as one can be: sums are, then.
        weight = rng.normal(size=shape).astype(np.float32).clip(-0.5, 0.5)
        weight *= np.sqrt(12 / np.prod(shape[1:]))
        if bits is None:
            weights[f"{name}_weight"] = weight
            continue
        step = np.float32(np.abs(weight).max() / _LARGEST_WEIGHT[bits])
        weights[f"{name}_weight_int8"] = np.round(weight / step).astype(np.int8)
        weights[f"{name}_weight_step"], weights[f"{name}_weight_zero"] = step, np.int8(0)
        of_pixels = name == "stem"
        weights[f"{name}_input_step"] = np.float32(_PIXEL_STEP if of_pixels else _STEP)
        weights[f"{name}_input_zero"] = np.uint8(_PIXEL_ZERO if of_pixels else 0)
    weights["classifier"] = rng.normal(size=(10, 32)).astype(np.float32)
    weights["bias"] = rng.normal(size=10).astype(np.float32)
    return weights
