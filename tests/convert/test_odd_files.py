"""ONNX files that are not what is wanted: what is wrong is named, with what to do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from resnet_pipe.model.model import read_sidecar
from tests.networks import MEAN, STD
from tests.run.commands import Result
from tests.run.jobs import Cli

PREPROCESS = f"{{resize: 36, crop: 32, mean: {MEAN}, std: {STD}}}"
RNG = np.random.default_rng(0)


def value(name: str, width: int = 10, kind: int = TensorProto.FLOAT) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, ["N", width])


def network(
    *nodes: NodeProto,
    outputs: Sequence[ValueInfoProto] = (value("scores"),),
    channels: int = 3,
    batch: int | str = "N",
    **weights: NDArray[np.generic],
) -> ModelProto:
    """Return a network whose classifier gives `scores`, with other nodes after it."""
    held = {
        "stem": RNG.normal(size=(16, channels, 3, 3)).astype(np.float32),
        "weight": RNG.normal(size=(10, 16)).astype(np.float32),
        **weights,
    }
    whole = [
        helper.make_node("Conv", ["image", "stem"], ["convolved"]),
        helper.make_node("Relu", ["convolved"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["pooled"], axis=1),
        helper.make_node("Gemm", ["pooled", "weight"], ["scores"], transB=1),
        *nodes,
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, channels, 32, 32])
    tensors = [numpy_helper.from_array(values, name) for name, values in held.items()]
    graph = helper.make_graph(whole, "theirs", [image], outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def adopt(cli: Cli, folder: Path, model: ModelProto, *options: str | Path) -> Result:
    onnx.save(model, folder / "theirs.onnx")
    given = ("--preprocess", PREPROCESS, *options)
    return cli("convert", folder / "theirs.onnx", "--out", folder / "new" / "models", *given)


def branch(operator: str) -> onnx.GraphProto:
    nodes = [helper.make_node(operator, ["scores"], ["chosen"])]
    chosen = helper.make_tensor_value_info("chosen", TensorProto.FLOAT, None)
    return helper.make_graph(nodes, operator, [], [chosen])


def branching() -> ModelProto:
    return network(
        helper.make_node("ReduceMax", ["scores"], ["largest"], keepdims=0),
        helper.make_node("Greater", ["largest", "zero"], ["condition"]),
        helper.make_node(
            "If", ["condition"], ["out"], then_branch=branch("Relu"), else_branch=branch("Identity")
        ),
        outputs=[value("out")],
        zero=np.array(0, np.float32),
    )


def looping() -> ModelProto:
    scalar = {
        name: helper.make_tensor_value_info(name, kind, [])
        for name, kind in (("i", TensorProto.INT64), ("go", TensorProto.BOOL), ("on", TensorProto.BOOL))
    }
    before, after = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("b", "a"))
    nodes = [helper.make_node("Relu", ["b"], ["a"]), helper.make_node("Identity", ["go"], ["on"])]
    body = helper.make_graph(nodes, "body", [scalar["i"], scalar["go"], before], [scalar["on"], after])
    loop = helper.make_node("Loop", ["count", "always", "scores"], ["out"], body=body)
    return network(loop, outputs=[value("out")], count=np.array(3), always=np.array(True))


def joined() -> ModelProto:
    return network(
        helper.make_node("Gemm", ["pooled", "second"], ["others"], transB=1),
        helper.make_node("Concat", ["scores", "others"], ["out"], axis=1),
        outputs=[value("out", 14)],
        second=np.ones((4, 16), np.float32),
    )


@pytest.mark.parametrize(
    ("model", "problem", "remedy"),
    [
        (branching(), "its outputs: out (made by If)", "without what follows its classifier"),
        (looping(), "its outputs: out (made by Loop)", "without what follows its classifier"),
        (joined(), "its outputs: out (made by Concat)", "one of the heads that are joined there"),
        (network(channels=1), "images have 3 channels, not 1", "x.mean(1, keepdim=True)"),
    ],
    ids=["If", "Loop", "Concat", "grey"],
)
def test_what_makes_a_network_unusable_is_named_with_what_to_do_and_leaves_no_directory(
    cli: Cli, tmp_path: Path, model: ModelProto, problem: str, remedy: str
) -> None:
    result = adopt(cli, tmp_path, model).expect(2)
    assert problem in result.stderr
    assert remedy in result.stderr
    assert not (tmp_path / "new").exists()


def test_a_directory_that_was_there_stays(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "new" / "models").mkdir(parents=True)
    adopt(cli, tmp_path, joined()).expect(2)
    assert (tmp_path / "new" / "models").is_dir()


def test_outputs_in_double_precision_become_float32(cli: Cli, tmp_path: Path) -> None:
    cast = helper.make_node("Cast", ["scores"], ["out"], to=TensorProto.DOUBLE)
    adopt(cli, tmp_path, network(cast, outputs=[value("out", 10, TensorProto.DOUBLE)])).expect(0)
    graph = onnx.load(tmp_path / "new" / "models" / "theirs.onnx").graph
    assert {one.type.tensor_type.elem_type for one in graph.output} == {TensorProto.FLOAT}


def test_an_output_that_is_not_kept_is_said(cli: Cli, tmp_path: Path) -> None:
    projected = helper.make_node("Gemm", ["pooled", "second"], ["embedding"], transB=1)
    second = RNG.normal(size=(4, 16)).astype(np.float32)
    model = network(projected, outputs=[value("scores"), value("embedding", 4)], second=second)
    said = adopt(cli, tmp_path, model).expect(0).stdout
    assert "NOTE: the output `embedding` of the file is not kept" in said
    projected.output[0] = "features"
    model = network(projected, outputs=[value("scores"), value("features", 4)], second=second)
    assert "not kept" not in adopt(cli, tmp_path, model, "--name", "other").expect(0).stdout


@pytest.mark.parametrize(("text", "listed"), [("# My project\n", False), ("---\nlicense: mit\n---\n", True)])
def test_a_readme_is_a_model_card_only_if_it_names_a_licence(
    cli: Cli, tmp_path: Path, text: str, listed: bool
) -> None:
    (tmp_path / "README.md").write_text(text)
    adopt(cli, tmp_path, network()).expect(0)
    sidecar = read_sidecar(tmp_path / "new" / "models" / "theirs.json")
    assert ("README.md" in sidecar.files) == listed
    assert sidecar.licence == ("mit" if listed else None)


@pytest.mark.parametrize("labels", [["cat"] * 10, {"1": "cat"}, {"cat": 0}, 5, "cat", {"0": 1}], ids=str)
def test_labels_that_cannot_be_understood_are_named(cli: Cli, tmp_path: Path, labels: object) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"id2label": labels}))
    said = adopt(cli, tmp_path, network()).expect(2).stderr
    assert "config.json: id2label: expected " in said
    assert "Error:" not in said


def test_a_name_that_is_too_long_is_to_be_shortened(cli: Cli, tmp_path: Path) -> None:
    long = tmp_path / f"{'é' * 124}.onnx"  # of 253 bytes; its sidecar and what is written first have more
    onnx.save(network(), long)
    said = cli("convert", long, "--out", tmp_path / "new", "--preprocess", PREPROCESS).expect(2).stderr
    assert "--name NAME" in said
    assert "free some space" not in said
    cli("convert", long, "--out", tmp_path, "--preprocess", PREPROCESS, "--name", "short").expect(0)


def test_an_onnx_file_is_no_checkpoint(cli: Cli, tmp_path: Path) -> None:
    onnx.save(network(), tmp_path / "theirs.onnx")
    arguments = ("--weights", tmp_path / "theirs.onnx", "--out", tmp_path / "new")
    said = cli("convert", "resnet18", *arguments).expect(2).stderr
    assert "is an ONNX network, not just weights" in said
    assert f"resnet-pipe convert {tmp_path}/theirs.onnx" in said


@pytest.mark.parametrize("size", ["--preprocess", "preprocessor_config.json", "recipe"])
def test_a_size_that_would_have_no_effect_is_refused(cli: Cli, tmp_path: Path, size: str) -> None:
    onnx.save(network(), tmp_path / "theirs.onnx")
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}})
    )
    spec = "resnet18" if size == "recipe" else tmp_path / "theirs.onnx"
    options = ("--preprocess", PREPROCESS) if size == "--preprocess" else ()
    result = cli("convert", spec, "--size", "test", "--out", tmp_path / "new", *options).expect(2)
    assert "--size test is for networks of timm, and has no effect" in result.stderr
    assert "leave out --size" in result.stderr
    assert not (tmp_path / "new").exists()
