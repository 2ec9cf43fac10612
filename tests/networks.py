"""Small networks for the tests: real ONNX files that load in milliseconds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from resnet_pipe.preprocess.geometry import sides

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CLASSES = 10
WIDTH = 3
YOLO_CROP, YOLO_CLASSES = 64, 5
"""Height and width of the input of a small YOLO, and how many classes it knows."""
YOLO_WIDTH = 16
"""Of its features, if it has any."""

Crop = int | tuple[int, int] | tuple[str | int, str | int]
ANY = ("H", "W")
"""The size of the input of a network that takes images of any."""
Weights = Mapping[str, NDArray[np.float32] | NDArray[np.int64]]


def write(
    path: Path,
    nodes: Sequence[NodeProto],
    outputs: Mapping[str, int],
    weights: Weights,
    *,
    input_name: str = "input",
    batch: int | str = "N",
    crop: Crop = 32,
) -> Path:
    """Write a network with one image input.

    Args:
        path: the .onnx file.
        nodes: from the input to the outputs.
        outputs: name to width.
        weights: by name.
        input_name: of the input, of shape (batch, 3, H, W).
        batch: a number, or the name of a dynamic size.
        crop: height and width of the input, pixels, or the side of a square; or names of dynamic ones.
    """
    image = helper.make_tensor_value_info(input_name, TensorProto.FLOAT, [batch, 3, *_sides(crop)])
    graph = helper.make_graph(
        nodes,
        path.stem,
        [image],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, width])
            for name, width in outputs.items()
        ],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return path


def _sides(crop: Crop) -> tuple[str | int, str | int]:
    return (crop, crop) if isinstance(crop, int) else crop


def classifier(inputs: int, seed: int = 0) -> Weights:
    """Return random weights for the Gemm from `inputs` features to `CLASSES` logits."""
    rng = np.random.default_rng(seed)
    return {
        "weight": rng.normal(size=(CLASSES, inputs)).astype(np.float32),
        "bias": rng.normal(size=CLASSES).astype(np.float32),
    }


def write_tiny(
    path: Path, crop: int | tuple[int, int] = 32, features: bool = True, batch: int | str = "N"
) -> Path:
    """Write a classifier whose features are the mean colour, and whose logits are a linear map of it.

    Args:
        path: the .onnx file.
        crop: height and width of its input, pixels, or the side of a square.
        features: whether it has the output `features`, of width 3, beside `logits`, of width 10.
        batch: a number, or the name of a dynamic size.
    """
    pooled = "features" if features else "pooled"
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["pool"]),
        helper.make_node("Flatten", ["pool"], [pooled], axis=1),
        helper.make_node("Gemm", [pooled, "weight", "bias"], ["logits"], transB=1),
    ]
    outputs = {"logits": CLASSES, **({"features": WIDTH} if features else {})}
    return write(path, nodes, outputs, classifier(WIDTH), batch=batch, crop=crop)


def write_pixels(path: Path, crop: int | tuple[int, int]) -> Path:
    """Write a network whose features are its input: channel by channel, row by row.

    Args:
        path: the .onnx file.
        crop: height and width of its input, pixels, or the side of a square.
    """
    width = 3 * math.prod(sides(crop))
    nodes = [
        helper.make_node("Flatten", ["input"], ["features"], axis=1),
        helper.make_node("Gemm", ["features", "weight", "bias"], ["logits"], transB=1),
    ]
    return write(path, nodes, {"logits": CLASSES, "features": width}, classifier(width), crop=crop)


def write_residual(path: Path, crop: Crop = 32) -> Path:
    """Write what a ResNet is made of, once: convolutions, a shortcut, pooling and a classifier.

    Args:
        path: the .onnx file.
        crop: height and width of its input, pixels, or the side of a square; or names of dynamic ones.
    """
    rng = np.random.default_rng(1)
    weights = {
        "stem": rng.normal(scale=1 / 12, size=(16, 3, 7, 7)).astype(np.float32),
        "one": rng.normal(scale=1 / 12, size=(16, 16, 3, 3)).astype(np.float32),
        "two": rng.normal(scale=1 / 12, size=(16, 16, 3, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["input", "stem"], ["a"], strides=[2, 2], pads=[3, 3, 3, 3]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["c", "one"], ["d"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("Conv", ["e", "two"], ["f"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["f", "c"], ["g"]),
        helper.make_node("Relu", ["g"], ["h"]),
        helper.make_node("GlobalAveragePool", ["h"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["features"], axis=1),
        helper.make_node("Gemm", ["features", "weight", "bias"], ["logits"], transB=1),
    ]
    outputs = {"logits": CLASSES, "features": 16}
    return write(path, nodes, outputs, {**weights, **classifier(16)}, crop=crop)


def write_yolo(
    path: Path,
    kind: str = "yolo",
    batch: int | str = "N",
    classes: int = YOLO_CLASSES,
    crop: int = YOLO_CROP,
    *,
    features: bool = False,
) -> Path:
    """Write a network with the output of a YOLO: boxes of three sizes, whose scores depend on the image.

    Args:
        path: the .onnx file.
        kind: `yolo5` (boxes, 5 + classes), `yolo` (4 + classes, boxes), `yolo_end_to_end` (boxes, 6).
        batch: a number, or the name of a dynamic size.
        classes: how many it knows.
        crop: height and width of its input, a multiple of 32.
        features: whether it has the output `features`, of width 16, as converted detectors have.
    """
    rng, channels = np.random.default_rng(6), 4 + (kind == "yolo5") + classes
    places = [
        (stride, y, x) for stride in (8, 16, 32) for y in range(crop // stride) for x in range(crop // stride)
    ]
    stride, rows, columns = (np.array(each, np.float32) for each in zip(*places, strict=True))
    weights: dict[str, NDArray[Any]] = {
        "stem": rng.normal(scale=1 / 8, size=(16, 3, 8, 8)).astype(np.float32),
        "listed": np.array([0, channels, -1]),
        "axis": np.array([1]),
        **{f"at_{place}": np.array([place]) for place in (0, 2, 4, channels)},
        "centre": ((np.stack([columns, rows])[None] + 0.5) * stride).astype(np.float32),
        "least": (stride * 2)[None, None],
        "more": (stride * 3)[None, None],
        "reach": (stride / 2)[None, None],
        "rare": np.array(2 if kind == "yolo5" else 5.5, np.float32),
        "half": np.array(0.5, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["input", "stem"], ["a"], strides=[8, 8]),
        helper.make_node("Relu", ["a"], ["level_0"]),
    ]
    for level in range(3):
        if level:
            names = [f"level_{level - 1}"], [f"level_{level}"]
            nodes.append(helper.make_node("AveragePool", *names, kernel_shape=[2, 2], strides=[2, 2]))
        weights[f"head_{level}"] = rng.normal(size=(channels, 16, 1, 1)).astype(np.float32)
        nodes += [
            helper.make_node("Conv", [f"level_{level}", f"head_{level}"], [f"map_{level}"]),
            helper.make_node("Reshape", [f"map_{level}", "listed"], [f"list_{level}"]),
        ]
    nodes.append(helper.make_node("Concat", [f"list_{level}" for level in range(3)], ["all"], axis=2))
    for name, start, end in (("xy", 0, 2), ("wh", 2, 4), ("logit", 4, channels)):
        nodes.append(helper.make_node("Slice", ["all", f"at_{start}", f"at_{end}", "axis"], [name]))
    nodes += [
        helper.make_node("Tanh", ["xy"], ["shift"]),
        helper.make_node("Mul", ["shift", "reach"], ["shifted"]),
        helper.make_node("Add", ["shifted", "centre"], ["middle"]),
        helper.make_node("Sigmoid", ["wh"], ["growth"]),
        helper.make_node("Mul", ["growth", "more"], ["grown"]),
        helper.make_node("Add", ["grown", "least"], ["size"]),
        helper.make_node("Sub", ["logit", "rare"], ["lowered"]),
        helper.make_node("Sigmoid", ["lowered"], ["score"]),
    ]
    shape = [batch, len(places), channels]
    if kind == "yolo_end_to_end":
        shape[2] = 6
        nodes += [
            helper.make_node("Mul", ["size", "half"], ["halved"]),
            helper.make_node("Sub", ["middle", "halved"], ["from"]),
            helper.make_node("Add", ["middle", "halved"], ["to"]),
            helper.make_node("ReduceMax", ["score"], ["best"], axes=[1]),
            helper.make_node("ArgMax", ["score"], ["index"], axis=1),
            helper.make_node("Cast", ["index"], ["label"], to=TensorProto.FLOAT),
            helper.make_node("Concat", ["from", "to", "best", "label"], ["columns"], axis=1),
        ]
    else:
        name = "output0" if kind == "yolo" else "columns"
        nodes.append(helper.make_node("Concat", ["middle", "size", "score"], [name], axis=1))
    if kind == "yolo":
        shape[1:] = shape[:0:-1]
    else:
        nodes.append(helper.make_node("Transpose", ["columns"], ["output0"], perm=[0, 2, 1]))
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 3, crop, crop])
    outputs = [helper.make_tensor_value_info("output0", TensorProto.FLOAT, shape)]
    if features:
        nodes.append(helper.make_node("GlobalAveragePool", ["level_2"], ["pooled"]))
        nodes.append(helper.make_node("Flatten", ["pooled"], ["features"], axis=1))
        outputs.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, [batch, YOLO_WIDTH]))
    made = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    model = helper.make_model(
        helper.make_graph(nodes, path.stem, [image], outputs, made),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    model.ir_version = 8
    onnx.save(model, str(path))
    return path


def write_int8(source: Path, path: Path, crop: int = 32, weight_bits: int = 8) -> Path:
    """Write the int8 form of a network, calibrated with noise. Needs ONNX Runtime.

    Args:
        source: of one of the functions above.
        path: the .onnx file.
        crop: height and width of its input, pixels, or the side of a square.
        weight_bits: 7, or 8.
    """
    from onnxruntime import quantization

    rng = np.random.default_rng(2)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        left = 4

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            self.left -= 1
            noise = rng.normal(size=(1, 3, crop, crop)).astype(np.float32)
            return {"input": noise} if self.left >= 0 else None

    quantization.quantize_static(
        source,
        path,
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        reduce_range=weight_bits == 7,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    return path


def preprocess_yaml(crop: int = 32) -> str:
    """Return the `preprocess` section that a network without a sidecar needs, as one line of YAML."""
    return f"{{resize: {crop + 4}, crop: {crop}, mean: {MEAN}, std: {STD}}}"
