"""Networks as people have them: other outputs, other ends, other inputs than a ResNet of `convert` has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from tests.networks import CLASSES, WIDTH, classifier

node = helper.make_node
CROP = 32

HEAD = [
    node("GlobalAveragePool", ["input"], ["pool"]),
    node("Flatten", ["pool"], ["flat"], axis=1),
    node("Gemm", ["flat", "weight", "bias"], ["logits"], transB=1),
]
"""From the input to `logits`; `pool` has shape (N, 3, 1, 1), and `flat` (N, 3)."""
ROW: list[int | str] = ["N", CLASSES]


def tensor(name: str, shape: Sequence[int | str] | None, kind: int = TensorProto.FLOAT) -> ValueInfoProto:
    """Return the description of an input or output; without a shape, it says none."""
    return helper.make_tensor_value_info(name, kind, shape)


IMAGE = tensor("input", ["N", 3, CROP, CROP])
SEQUENCE = helper.make_tensor_sequence_value_info("list", TensorProto.FLOAT, None)


def write(
    path: Path,
    nodes: Sequence[NodeProto],
    outputs: Sequence[ValueInfoProto],
    weights: Mapping[str, NDArray[Any]] | None = None,
    image: ValueInfoProto = IMAGE,
) -> Path:
    """Write a network with the weights of `HEAD`, and others."""
    tensors = {**classifier(WIDTH), **(weights or {})}
    graph = helper.make_graph(
        nodes,
        path.stem,
        [image],
        outputs,
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 8
    onnx.save(model, str(path))
    return path


def write_with_others(path: Path) -> Path:
    """Write a network whose `logits` and `pool` are among outputs that no library knows what to do with."""
    nodes = [
        *HEAD,
        node("ReduceMean", ["logits"], ["temperature"], keepdims=0),
        node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0),
        node("SplitToSequence", ["logits"], ["list"], axis=0),
        node("Sin", ["pool"], ["wave"]),
    ]
    outputs = [
        tensor("temperature", []),
        tensor("logits", None),
        tensor("label", ["N"], TensorProto.INT64),
        SEQUENCE,
        tensor("wave", ["N", 3, 1, 1]),
        tensor("pool", ["N", "C", "H", "W"]),
        tensor("input", ["N", 3, CROP, CROP]),
        tensor("weight", [CLASSES, WIDTH]),
    ]
    return write(path, nodes, outputs)


CHOSEN = np.array([1, 0, 1, 1, 0, 1, 1, 1, 1, 1], np.float32)


def write_open(path: Path, *, ending: Sequence[NodeProto] = (), output: str = "kept") -> Path:
    """Write a network with a value for eight of the classes, which shows only when it runs."""
    nodes = [
        *HEAD,
        node("NonZero", ["chosen"], ["places"]),
        node("Squeeze", ["places", "first"], ["classes"]),
        node("Gather", ["logits", "classes"], ["kept"], axis=1),
        *ending,
    ]
    return write(path, nodes, [tensor(output, ["N", "C"])], {"chosen": CHOSEN, "first": np.array([0])})


def mix(path: Path) -> Path:
    """Make a network wrong in batches: each image has the mean of its batch added to it."""
    return _before(path, [
        node("ReduceMean", ["input"], ["mean_of_batch"], axes=[0], keepdims=1),
        node("Add", ["input", "mean_of_batch"], ["changed"]),
    ])  # fmt: skip


def spoil_last(path: Path, batch: int) -> Path:
    """Make a network of so many images wrong for the last of them."""
    factors = np.ones((batch, 1, 1, 1), np.float32)
    factors[-1] = -2
    return _before(path, [node("Mul", ["input", "factors"], ["changed"])], {"factors": factors})


def _before(
    path: Path, nodes: Sequence[NodeProto], weights: Mapping[str, NDArray[Any]] | None = None
) -> Path:
    """Put nodes, from `input` to `changed`, before all nodes of a network."""
    model = onnx.load(str(path))
    for one in model.graph.node:
        one.input[:] = ["changed" if name == "input" else name for name in one.input]
    after = [*nodes, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(after)
    model.graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in (weights or {}).items()
    )
    path.unlink()  # it may be a link to a file that others use
    onnx.save(model, str(path))
    return path
