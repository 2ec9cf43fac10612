"""Small networks for the tests: real ONNX files that load in milliseconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CLASSES = 10
WIDTH = 3


def write_tiny(path: Path, crop: int = 32, features: bool = True) -> Path:
    """Write a classifier whose features are the mean colour, and whose logits are a linear map of it.

    Args:
        path: the .onnx file.
        crop: side of its input, pixels.
        features: whether it has the output `features`, of width 3, beside `logits`, of width 10.
    """
    rng = np.random.default_rng(0)
    weight = numpy_helper.from_array(rng.normal(size=(CLASSES, WIDTH)).astype(np.float32), "weight")
    bias = numpy_helper.from_array(rng.normal(size=CLASSES).astype(np.float32), "bias")
    pooled = "features" if features else "pooled"
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["pool"]),
        helper.make_node("Flatten", ["pool"], [pooled], axis=1),
        helper.make_node("Gemm", [pooled, "weight", "bias"], ["logits"], transB=1),
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])]
    if features:
        outputs.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", WIDTH]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, crop, crop])],
        outputs,
        [weight, bias],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return path


def preprocess_yaml(crop: int = 32) -> str:
    """Return the `preprocess` section that a network without a sidecar needs, as one line of YAML."""
    return f"{{resize: {crop + 4}, crop: {crop}, mean: {MEAN}, std: {STD}}}"
