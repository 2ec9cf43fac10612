"""The engines that build a network from an ONNX file's nodes: each operator gives what ONNX says it gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto
from onnx.helper import make_node
from onnx.reference import ReferenceEvaluator

from resnet_pipe.errors import ModelError
from resnet_pipe.infer.engine import EngineRequest, load
from resnet_pipe.infer.onnx_graph.graph import read
from resnet_pipe.infer.onnx_graph.operations import Conv, ScaleShift
from tests import networks
from tests.infer.requests import photos, preprocessing, request

CROP = 11
Array = NDArray[Any]
Network = tuple[Sequence[NodeProto], dict[str, Any]]


@pytest.fixture(params=["torch", "mlx"])
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    pytest.importorskip({"torch": "torch", "mlx": "mlx.core"}[name])
    return name


def weights(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape, scale=0.5).astype(np.float32)


def norm(channels: int) -> dict[str, Any]:
    values = {name: weights(channels, seed=seed) for seed, name in enumerate(("scale", "shift", "mean"))}
    return {**values, "variance": np.abs(weights(channels, seed=9)) + 0.1}


def enlarged(source: str, result: str, **attributes: Any) -> NodeProto:  # noqa: ANN401
    nearest = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
    return make_node("Resize", [source, "", "scales"], [result], **{**nearest, **attributes})


def conv(source: str, result: str, weight: str = "w", **attributes: Any) -> NodeProto:  # noqa: ANN401
    return make_node("Conv", [source, weight], [result], **attributes)


def batch_norm(source: str, result: str) -> NodeProto:
    return make_node(
        "BatchNormalization", [source, "scale", "shift", "mean", "variance"], [result], epsilon=1e-3
    )


NETWORKS: dict[str, Network] = {
    "convolution in groups, dilated, with steps and other pads on each side": (
        [
            conv(
                "input", "a", "w3", kernel_shape=[3, 2], pads=[2, 0, 1, 1], strides=[2, 1], dilations=[2, 1]
            ),
            make_node("Conv", ["a", "g", "b"], ["x"], group=2, pads=[1, 1, 1, 1]),
        ],
        {"w3": weights(4, 3, 3, 2), "g": weights(6, 2, 3, 3), "b": weights(6)},
    ),
    "batch norm after a convolution": (
        [
            make_node("Conv", ["input", "w", "b"], ["a"]),
            batch_norm("a", "c"),
            make_node("Relu", ["c"], ["x"]),
        ],
        {"w": weights(4, 3, 3, 3), "b": weights(4), **norm(4)},
    ),
    "batch norm of a convolution that something else takes too": (
        [conv("input", "a"), batch_norm("a", "c"), make_node("Add", ["c", "a"], ["x"])],
        {"w": weights(4, 3, 3, 3), **norm(4)},
    ),
    "values that become blocks": (
        [conv("input", "a"), enlarged("a", "x")],
        {"w": weights(4, 3, 3, 3), "scales": np.array([1, 1, 2, 3], np.float32)},
    ),
    "batch norm of the image": ([batch_norm("input", "x")], norm(3)),
    "shortcuts to both sides of an addition": (
        [
            conv("input", "a", pads=[1] * 4),
            make_node("Relu", ["a"], ["b"]),
            conv("b", "c", "v", pads=[1] * 4),
            make_node("Add", ["c", "b"], ["d"]),
            conv("b", "e", "v", pads=[1] * 4),
            make_node("Add", ["d", "e"], ["f"]),
            make_node("Relu", ["f"], ["g"]),
            make_node("Add", ["g", "g"], ["x"]),
        ],
        {"w": weights(4, 3, 3, 3), "v": weights(4, 4, 3, 3)},
    ),
    "additions of constants, one of a convolution": (
        [
            conv("input", "a"),
            make_node("Add", ["a", "c"], ["b"]),
            make_node("Add", ["rows", "b"], ["d"]),
            make_node("Add", ["d", "whole"], ["x"]),
        ],
        {"w": weights(4, 3, 3, 3), "c": weights(4, 1, 1), "rows": weights(9), "whole": weights(1, 4, 9, 9)},
    ),
    "largest of dilated windows that end outside": (
        [
            make_node(
                "MaxPool",
                ["input"],
                ["x"],
                kernel_shape=[3, 2],
                strides=[2, 3],
                pads=[1, 0, 1, 0],
                dilations=[1, 2],
                ceil_mode=1,
            )
        ],
        {},
    ),
    "largest of windows with other pads on each side": (
        [make_node("MaxPool", ["input"], ["x"], kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 2])],
        {},
    ),
    "mean of windows without pads": (
        [make_node("AveragePool", ["input"], ["x"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)],
        {},
    ),
    "mean of windows with pads": (
        [
            make_node(
                "AveragePool",
                ["input"],
                ["x"],
                kernel_shape=[3, 3],
                strides=[2, 2],
                pads=[1] * 4,
                count_include_pad=1,
            )
        ],
        {},
    ),
    "mean of windows that end outside": (
        [make_node("AveragePool", ["input"], ["x"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)],
        {},
    ),
    "means of axes": (
        [
            make_node("ReduceMean", ["input"], ["a"], axes=[-1], keepdims=0),
            make_node("ReduceMean", ["a"], ["x"], axes=[1]),
        ],
        {},
    ),
    "other shapes, in the order of channels, rows, columns": (
        [
            make_node("Reshape", ["input", "there"], ["a"]),
            make_node("Softmax", ["a"], ["b"], axis=1),
            make_node("Reshape", ["b", "back"], ["c"]),
            make_node("Softmax", ["c"], ["d"], axis=-3),
            make_node("Flatten", ["d"], ["e"], axis=3),
            make_node("Reshape", ["e", "image"], ["x"]),
        ],
        {
            "there": np.array([0, CROP, -1]),
            "back": np.array([0, CROP, 3, CROP]),
            "image": np.array([-1, 3, CROP, CROP]),
        },
    ),
    "classifiers": (
        [
            make_node("GlobalAveragePool", ["input"], ["a"]),
            make_node("Flatten", ["a"], ["b"]),
            make_node("Gemm", ["b", "w", "c"], ["d"], alpha=0.5, beta=2.0),
            make_node("MatMul", ["d", "v"], ["e"]),
            make_node("Add", ["e", "f"], ["g"]),
            make_node("Gemm", ["g", "u"], ["x"], transB=1),
        ],
        {"w": weights(3, 5), "c": weights(1, 5), "v": weights(5, 4), "f": weights(4), "u": weights(7, 4)},
    ),
    "a convolution of what is pooled, added to a whole map": (
        [
            conv("input", "a"),
            make_node("GlobalAveragePool", ["a"], ["b"]),
            conv("b", "c", "v"),
            make_node("Add", ["c", "a"], ["d"]),
            make_node("Relu", ["d"], ["x"]),
        ],
        {"w": weights(4, 3, 3, 3), "v": weights(4, 4, 1, 1)},
    ),
    "arithmetic of two values, one of which may be a constant or smaller": (
        [
            make_node("GlobalAveragePool", ["input"], ["mean"]),
            make_node("Sub", ["input", "mean"], ["centred"]),
            make_node("Mul", ["centred", "centred"], ["squared"]),
            make_node("GlobalAveragePool", ["squared"], ["variance"]),
            make_node("Add", ["variance", "least"], ["positive"]),
            make_node("Sqrt", ["positive"], ["deviation"]),
            make_node("Div", ["scale", "deviation"], ["factor"]),
            make_node("Mul", ["centred", "factor"], ["normed"]),
            make_node("Sub", ["one", "normed"], ["less"]),
            make_node("Tanh", ["less"], ["near"]),
            make_node("Exp", ["near"], ["positive_again"]),
            make_node("Div", ["positive_again", "rows"], ["divided"]),
            make_node("Pow", ["divided", "two"], ["x"]),
        ],
        {
            "least": np.array(1e-3, np.float32),
            "scale": weights(1, 3, 1, 1),
            "one": np.array(1, np.float32),
            "rows": np.abs(weights(CROP, 1)) + 1,
            "two": np.array(2, np.float32),
        },
    ),
    "parts, side by side again in another order": (
        [
            conv("input", "a"),
            make_node("Split", ["a", "lengths"], ["b", "c", "d"], axis=1),
            make_node("Slice", ["b", "begins", "ends", "axes", "steps"], ["e"]),
            make_node("Slice", ["c", "from", "to"], ["f"]),
            make_node("Concat", ["d", "b"], ["g"], axis=-3),
            make_node("Flatten", ["e"], ["h"]),
            make_node("Flatten", ["f"], ["i"]),
            make_node("Flatten", ["g"], ["j"]),
            make_node("Concat", ["h", "i", "j"], ["x"], axis=1),
        ],
        {
            "w": weights(6, 3, 3, 3),
            "lengths": np.array([2, 1, 3]),
            "begins": np.array([1, -4]),
            "ends": np.array([2**63 - 1, -1]),
            "axes": np.array([2, -1]),
            "steps": np.array([3, 2]),
            "from": np.array([0, 0, 2]),
            "to": np.array([9, 1, 5]),
        },
    ),
    "a part of an output, of which nobody takes the others": (
        [make_node("Split", ["input", "lengths"], ["a", "x"], axis=2)],
        {"lengths": np.array([4, CROP - 4])},
    ),
    "other orders of axes, up to six": (
        [
            make_node("Transpose", ["input"], ["a"], perm=[0, 2, 3, 1]),
            make_node("Reshape", ["a", "five"], ["b"]),
            make_node("Transpose", ["b"], ["c"], perm=[0, 3, 1, 4, 2]),
            make_node("Unsqueeze", ["c", "places"], ["d"]),
            make_node("Squeeze", ["d", "place"], ["e"]),
            make_node("Squeeze", ["e", "place"], ["f"]),
            make_node("Transpose", ["f"], ["g"]),
            make_node("Sigmoid", ["g"], ["h"]),
            make_node("Transpose", ["h"], ["x"]),
        ],
        {
            "five": np.array([0, CROP, 1, CROP, 3]),
            "places": np.array([-1]),
            "place": np.array([4]),
        },
    ),
    "places along an axis, one of them alone": (
        [
            make_node("Gather", ["input", "places"], ["a"], axis=3),
            make_node("Gather", ["a", "last"], ["x"], axis=1),
        ],
        {"places": np.array([3, 0, -1, 3]), "last": np.array(-1)},
    ),
    "products of matrices that are computed, and of a constant": (
        [
            make_node("Transpose", ["input"], ["a"], perm=[0, 1, 3, 2]),
            make_node("MatMul", ["input", "a"], ["b"]),
            make_node("MatMul", ["rows", "b"], ["c"]),
            make_node("MatMul", ["c", "columns"], ["x"]),
        ],
        {"rows": weights(3, 4, CROP), "columns": weights(1, 3, CROP, 2)},
    ),
    "attention to places of the image": (
        [
            conv("input", "a"),
            make_node("Reshape", ["a", "heads"], ["b"]),
            make_node("Split", ["b", "lengths"], ["q", "k", "v"], axis=2),
            make_node("Transpose", ["q"], ["t"], perm=[0, 1, 3, 2]),
            make_node("MatMul", ["t", "k"], ["scores"]),
            make_node("Softmax", ["scores"], ["shares"], axis=-1),
            make_node("Transpose", ["shares"], ["back"], perm=[0, 1, 3, 2]),
            make_node("MatMul", ["v", "back"], ["seen"]),
            make_node("Reshape", ["seen", "image"], ["x"]),
        ],
        {
            "w": weights(8, 3, 3, 3),
            "heads": np.array([-1, 2, 4, 81]),
            "lengths": np.array([1, 1, 2]),
            "image": np.array([-1, 4, 9, 9]),
        },
    ),
    "what does nothing, and limits": (
        [
            make_node(
                "Constant", [], ["high"], value=onnx.numpy_helper.from_array(np.array(0.5, np.float32))
            ),
            make_node("Identity", ["input"], ["a"]),
            make_node("Dropout", ["a"], ["b", "mask"]),
            make_node("Clip", ["b", "low", "high"], ["c"]),
            make_node("Clip", ["c", "low"], ["x"]),
        ],
        {"low": np.array(-0.25, np.float32)},
    ),
}


def write(path: Path, nodes: Sequence[NodeProto], values: dict[str, Any]) -> Path:
    """Write a network whose logits are the value x, row by row."""
    flat = make_node("Flatten", ["x"], ["logits"])
    return networks.write(path, [*nodes, flat], {"logits": 1}, values, crop=CROP)


def normalized(batch: Array) -> Array:
    mean, std = (np.array(values).reshape(3, 1, 1) for values in (networks.MEAN, networks.STD))
    return np.asarray((batch.transpose(0, 3, 1, 2) / 255 - mean) / std, np.float32)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_an_operator_gives_what_the_reference_of_onnx_gives(
    engine: str, tmp_path: Path, network: Network
) -> None:
    path = write(tmp_path / "network.onnx", *network)
    batch = photos(3, CROP)
    (expected,) = list(ReferenceEvaluator(str(path)).run(None, {"input": normalized(batch)}))
    wanted = request(path, ("logits",), batch_size=3, preprocess=preprocessing(CROP))
    found = load(engine, wanted).infer(batch)["logits"]
    np.testing.assert_allclose(found, np.asarray(expected), rtol=1e-4, atol=1e-4)


def of_a_yolo(path: Path, kind: str) -> EngineRequest:
    network = networks.write_yolo(path, kind)
    wanted = request(network, ("output0",), batch_size=3, preprocess=preprocessing(networks.YOLO_CROP))
    return replace(wanted, rows=False)


@pytest.mark.parametrize("kind", ["yolo5", "yolo"])
def test_a_yolo_gives_what_the_reference_of_onnx_gives(engine: str, tmp_path: Path, kind: str) -> None:
    wanted = of_a_yolo(tmp_path / "yolo.onnx", kind)
    batch = photos(3, networks.YOLO_CROP)
    (expected,) = list(ReferenceEvaluator(str(wanted.model)).run(None, {"input": normalized(batch)}))
    loaded = load(engine, wanted)
    np.testing.assert_allclose(loaded.infer(batch)["output0"], np.asarray(expected), rtol=1e-4, atol=1e-4)
    assert loaded.describe().note == ""


def test_a_yolo_that_chooses_its_boxes_is_refused_by_the_operator(engine: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"operator 'ReduceMax', node .* do not have this operator"):
        load(engine, of_a_yolo(tmp_path / "yolo.onnx", "yolo_end_to_end"))


def test_axes_may_be_an_input_as_they_are_since_opset_18(engine: str, tmp_path: Path) -> None:
    nodes = [make_node("ReduceMean", ["input", "axes"], ["x"], keepdims=0)]
    path = write(tmp_path / "network.onnx", nodes, {"axes": np.array([2, 3])})
    model = onnx.load(str(path))
    model.opset_import[0].version = 18
    onnx.save(model, str(path))
    batch = photos(2, CROP)
    wanted = request(path, ("logits",), batch_size=2, preprocess=preprocessing(CROP))
    expected = normalized(batch).mean((2, 3))
    np.testing.assert_allclose(load(engine, wanted).infer(batch)["logits"], expected, rtol=1e-4, atol=1e-5)


def test_a_batch_norm_goes_into_the_convolution_only_if_nothing_else_takes_it(tmp_path: Path) -> None:
    alone, shared = (
        [type(node.operation) for node in read(write(tmp_path / "n.onnx", *NETWORKS[name])).nodes]
        for name in (
            "batch norm after a convolution",
            "batch norm of a convolution that something else takes too",
        )
    )
    assert Conv in alone
    assert ScaleShift not in alone
    assert ScaleShift in shared


REFUSED: dict[str, tuple[Network, str]] = {
    "an operator of another set": (
        ([make_node("Relu", ["input"], ["x"], name="me", domain="com.evil")], {}),
        r"operator 'com.evil.Relu', node 'me'",
    ),
    "an operator with control characters": (
        ([make_node("Re\x1b[2Jlu", ["input"], ["x"], name="\x1b]0;")], {}),
        r"operator 'Re\\x1b\[2Jlu', node '\\x1b\]0;'",
    ),
    "a size that is no multiple": (
        ([enlarged("input", "x")], {"scales": np.array([1, 1, 2, 1.5], np.float32)}),
        "enlarge by whole numbers only",
    ),
    "values between others": (
        ([enlarged("input", "x", mode="linear")], {"scales": np.array([1, 1, 2, 2], np.float32)}),
        "enlarge by whole numbers only",
    ),
    "an attribute that nobody knows": (
        ([make_node("Relu", ["input"], ["x"], slope=0.1)], {}),
        "unknown attribute 'slope'",
    ),
    "an attribute of the wrong type": (
        ([conv("input", "x", strides=2)], {"w": weights(4, 3, 3, 3)}),
        "strides is 2, not 2 numbers",
    ),
    "a step of zero": (
        ([conv("input", "x", strides=[0, 1])], {"w": weights(4, 3, 3, 3)}),
        r"strides is \[0, 1\]",
    ),
    "pads that would fill the memory": (
        ([conv("input", "x", pads=[8000] * 4)], {"w": weights(4, 3, 3, 3)}),
        "not smaller than the kernel",
    ),
    "pads in words": (
        ([conv("input", "x", auto_pad="SAME_UPPER")], {"w": weights(4, 3, 3, 3)}),
        "auto_pad",
    ),
    "a kernel that is not that of the weights": (
        ([conv("input", "x", kernel_shape=[5, 5])], {"w": weights(4, 3, 3, 3)}),
        "kernel_shape",
    ),
    "groups that do not divide": (
        ([conv("input", "x", group=3)], {"w": weights(4, 1, 3, 3)}),
        "3 groups",
    ),
    "weights that are computed": (([conv("input", "x", "input")], {}), "input 1 is not a constant"),
    "weights of integers": (
        ([conv("input", "x")], {"w": np.ones((4, 3, 3, 3), np.int64)}),
        "int64",
    ),
    "a batch norm that learns": (
        ([make_node("BatchNormalization", ["input", *norm(3)], ["x"], training_mode=1)], norm(3)),
        "training_mode",
    ),
    "a shape that is computed": (([make_node("Reshape", ["input", "input"], ["x"])], {}), "not a constant"),
    "an operator that is not there": (
        ([make_node("Erf", ["input"], ["x"], name="me")], {}),
        r"operator 'Erf', node 'me': the engines torch and mlx do not have this operator",
    ),
    "an order of axes with gaps": (
        ([make_node("Transpose", ["input"], ["x"], perm=[0, 1, 2, 4])], {}),
        "no order of axes",
    ),
    "parts backwards": (
        (
            [make_node("Slice", ["input", "from", "to", "axes", "steps"], ["x"])],
            {name: np.array([value]) for name, value in (("from", 5), ("to", 0), ("axes", 2), ("steps", -1))},
        ),
        "steps .* are not from 1 on",
    ),
    "parts of a length that nobody says": (
        ([make_node("Split", ["input"], ["x", "y"], axis=1)], {}),
        "does not say how long its parts are",
    ),
    "an axis that there is not": (
        ([make_node("Concat", ["input", "input"], ["x"], axis=9)], {}),
        "axis is 9",
    ),
    "places that are computed": (([make_node("Gather", ["input", "input"], ["x"])], {}), "not a constant"),
    "a value that comes later": (
        ([make_node("Relu", ["later"], ["x"]), make_node("Relu", ["input"], ["later"])], {}),
        "'later', which no node before it produces",
    ),
    "a value that is given twice": (
        ([make_node("Relu", ["input"], ["x"]), make_node("Relu", ["input"], ["x"])], {}),
        "'x' has no name of its own",
    ),
    "channels that do not fit": (([conv("input", "x")], {"w": weights(4, 5, 3, 3)}), ""),
}


@pytest.mark.parametrize(("network", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_run_is_a_model_error_that_names_file_operator_and_node(
    engine: str, tmp_path: Path, network: Network, message: str
) -> None:
    path = write(tmp_path / "network.onnx", *network)
    with pytest.raises(ModelError, match=rf"network\.onnx.*{message}"):
        load(engine, request(path, ("logits",), preprocess=preprocessing(CROP)))


def cut(tensor: TensorProto) -> None:
    tensor.raw_data = tensor.raw_data[:8]


def elsewhere(tensor: TensorProto) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")


@pytest.mark.parametrize("damage", [cut, elsewhere])
def test_weights_that_are_cut_or_lie_elsewhere_are_a_model_error(
    engine: str, tmp_path: Path, damage: Callable[[TensorProto], None]
) -> None:
    path = write(tmp_path / "network.onnx", [conv("input", "x")], {"w": weights(4, 3, 3, 3)})
    model = onnx.load(str(path))
    damage(model.graph.initializer[0])
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"network\.onnx"):
        load(engine, request(path, ("logits",), preprocess=preprocessing(CROP)))


def test_an_output_that_is_the_image_is_a_model_error(engine: str, tmp_path: Path) -> None:
    path = networks.write(tmp_path / "n.onnx", [], {"input": 3}, {}, crop=CROP)
    with pytest.raises(ModelError, match="no node produces the output 'input'"):
        load(engine, request(path, ("input",), preprocess=preprocessing(CROP)))
