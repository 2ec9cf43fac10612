"""What a network's outputs are: found in the file, stated in the record, and never guessed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from tests.networks import CLASSES, WIDTH, write_tiny
from tests.odd_networks import (
    HEAD,
    ROW,
    SEQUENCE,
    node,
    tensor,
    write,
    write_open,
    write_with_others,
)
from tests.run.jobs import HOME, SIDECAR, Cli, JobFolder, read_rows

Write = Callable[[Path], Path]

PROBABILITIES = "probabilities (the network ends in a softmax)"
ENDINGS: dict[str, tuple[list[NodeProto], str, str]] = {
    "softmax": ([node("Softmax", ["logits"], ["out"], axis=1)], PROBABILITIES, "as they are"),
    "softmax, handed on": (
        [
            node("Softmax", ["logits"], ["p"]),
            node("Cast", ["p"], ["half"], to=TensorProto.FLOAT16),
            node("Dropout", ["half"], ["dropped"]),
            node("Cast", ["dropped"], ["whole"], to=TensorProto.FLOAT),
            node("Reshape", ["whole", "shape"], ["out"]),
        ],
        PROBABILITIES,
        "as they are",
    ),
    "softmax of four axes": (
        [
            node("Unsqueeze", ["logits", "axes"], ["wide"]),
            node("Softmax", ["wide"], ["p"], axis=1),
            node("Flatten", ["p"], ["out"]),
        ],
        PROBABILITIES,
        "as they are",
    ),
    "softmax, clipped": (
        [node("Softmax", ["logits"], ["p"]), node("Clip", ["p", "", "one"], ["out"])],
        PROBABILITIES,
        "as they are",
    ),
    "softmax in its parts": (
        [
            node("Exp", ["logits"], ["e"]),
            node("ReduceSum", ["e", "class_axis"], ["s"]),
            node("Div", ["e", "s"], ["out"]),
        ],
        PROBABILITIES,
        "as they are",
    ),
    "softmax over the batch": ([node("Softmax", ["logits"], ["out"], axis=0)], "logits", "by softmax"),
    "softmax over an axis of length 1": (
        [
            node("Unsqueeze", ["logits", "axes"], ["wide"]),
            node("Softmax", ["wide"], ["p"], axis=-1),
            node("Flatten", ["p"], ["out"]),
        ],
        "logits",
        "by softmax",
    ),
    "softmax, and more": (
        [node("Softmax", ["logits"], ["p"]), node("Mul", ["p", "p"], ["out"])],
        "logits",
        "by softmax",
    ),
    "log-softmax": (
        [node("LogSoftmax", ["logits"], ["out"])],
        "log-probabilities (the network ends in a log-softmax)",
        "by softmax",
    ),
    "logarithm of a softmax": (
        [node("Softmax", ["logits"], ["p"]), node("Log", ["p"], ["out"])],
        "log-probabilities (the network ends in a log-softmax)",
        "by softmax",
    ),
    "sigmoid": (
        [node("Sigmoid", ["logits"], ["out"])],
        "probabilities (the network ends in a sigmoid)",
        "as they are",
    ),
    "exponential of a log-softmax": (
        [node("LogSoftmax", ["logits"], ["log"]), node("Exp", ["log"], ["out"])],
        PROBABILITIES,
        "as they are",
    ),
    "softmax, kept from zero": (
        [node("Softmax", ["logits"], ["p"]), node("Add", ["p", "small"], ["out"])],
        PROBABILITIES,
        "as they are",
    ),
    "softmax in percent, rounded": (
        [
            node("Softmax", ["logits"], ["p"]),
            node("Mul", ["p", "hundred"], ["percent"]),
            node("Round", ["percent"], ["out"]),
        ],
        PROBABILITIES,
        "as they are",
    ),
    "the average of two softmaxes": (
        [
            node("Softmax", ["logits"], ["p"]),
            node("Neg", ["logits"], ["negative"]),
            node("Softmax", ["negative"], ["q"]),
            node("Add", ["p", "q"], ["sum"]),
            node("Constant", [], ["two"], value=numpy_helper.from_array(np.array([2], np.float32))),
            node("Div", ["sum", "two"], ["out"]),
        ],
        PROBABILITIES,
        "as they are",
    ),
    "a softmax for each half of the classes": (
        [
            node("Split", ["logits"], ["a", "b"], axis=1),
            node("Softmax", ["a"], ["p"]),
            node("Softmax", ["b"], ["q"]),
            node("Concat", ["p", "q"], ["out"], axis=1),
        ],
        PROBABILITIES,
        "as they are",
    ),
    "both of two classes": (
        [
            node("Split", ["logits"], ["half", "other"], axis=1),
            node("Sigmoid", ["half"], ["p"]),
            node("Sub", ["one", "p"], ["q"]),
            node("Concat", ["q", "p"], ["out"], axis=1),
        ],
        "probabilities (the network ends in a sigmoid)",
        "as they are",
    ),
    "a classifier of scikit-learn's": (
        [
            node(
                "LinearClassifier",
                ["flat"],
                ["label", "scores"],
                domain="ai.onnx.ml",
                coefficients=[0.1] * (CLASSES * WIDTH),
                intercepts=[0.0] * CLASSES,
                classlabels_ints=range(CLASSES),
                post_transform="SOFTMAX",
            ),
            node("Normalizer", ["scores"], ["out"], domain="ai.onnx.ml", norm="L1"),
        ],
        PROBABILITIES,
        "as they are",
    ),
    "a softmax and logits": (
        [node("Softmax", ["logits"], ["p"]), node("Add", ["p", "logits"], ["out"])],
        "logits",
        "by softmax",
    ),
    "what is divided by a softmax": (
        [node("Softmax", ["logits"], ["p"]), node("Div", ["one", "p"], ["out"])],
        "logits",
        "by softmax",
    ),
    "nothing": ([node("Identity", ["logits"], ["out"])], "logits", "by softmax"),
}
ENDING_WEIGHTS: dict[str, NDArray[Any]] = {
    "shape": np.array([-1, CLASSES]),
    "axes": np.array([2, 3]),
    "class_axis": np.array([1]),
    "one": np.array(1, np.float32),
    "small": np.array(1e-7, np.float32),
    "hundred": np.array([100], np.float32),
}


def described(cli: Cli, job: JobFolder, network: Path, *settings: str) -> str:
    """Return what a dry run says of the outputs that a job takes."""
    arguments = [part for setting in settings for part in ("--set", setting)]
    said = cli("run", job.file, "--dry-run", "--set", f"infer.model={network}", *arguments).expect(0).stdout
    (line,) = (line for line in said.splitlines() if line.startswith("outputs  "))
    return line.removeprefix("outputs  ")


def test_what_an_output_holds_is_found_in_the_graph(job: JobFolder, cli: Cli) -> None:
    job.write(fields="[top_k]")
    job.add("a.jpg")
    for number, (name, (ending, holds, scores)) in enumerate(ENDINGS.items()):
        network = write(job.folder / f"{number}.onnx", [*HEAD, *ending], [tensor("out", ROW)], ENDING_WEIGHTS)
        assert described(cli, job, network) == f"out (N, 10): {holds}; scores: {scores}", name


def test_what_a_quantized_output_holds_is_found_in_the_graph(job: JobFolder, cli: Cli) -> None:
    pytest.importorskip("onnxruntime")
    job.write(fields="[top_k]", infer="engine: onnxruntime")
    job.add("a.jpg")
    ending = [
        node("Softmax", ["logits"], ["p"]),
        node("QuantizeLinear", ["p", "scale", "zero"], ["q"]),
        node("DequantizeLinear", ["q", "scale", "zero"], ["out"]),
    ]
    scale: dict[str, NDArray[Any]] = {"scale": np.array(1 / 255, np.float32), "zero": np.array(0, np.uint8)}
    network = write(job.folder / "int8.onnx", [*HEAD, *ending], [tensor("out", ROW)], scale)
    assert described(cli, job, network) == f"out (N, 10): {PROBABILITIES}; scores: as they are"


@pytest.mark.parametrize("ending", ["Softmax", "LogSoftmax", "Sigmoid", "Identity"])
def test_scores_are_right_whatever_the_network_ends_in(job: JobFolder, ending: str) -> None:
    job.write(fields="[logits, top_k]", writer="")
    job.add("a.jpg", "b.jpg")
    write(job.folder / "ends.onnx", [*HEAD, node(ending, ["logits"], ["out"])], [tensor("out", ROW)])
    job.run("--set", "infer.model=ends.onnx", "--set", "writer.k=10").expect(0)
    found = job.rows()
    job.run("--set", "writer.path=plain").expect(0)
    for row, plain in zip(found, read_rows(job.folder / "plain"), strict=True):
        logits = np.array(plain["logits"])
        expected = 1 / (1 + np.exp(-logits)) if ending == "Sigmoid" else np.exp(logits) / np.exp(logits).sum()
        scores = {one["index"]: one["score"] for one in row["top_k"]}
        assert [scores[index] for index in range(CLASSES)] == pytest.approx(expected, abs=1e-5)
        assert [one["index"] for one in row["top_k"]] == np.argsort(-logits, kind="stable").tolist()
    outputs = job.summary()["model"]["outputs"]
    assert outputs["logits"]["output"] == "out"
    assert outputs["activation"] == ("none" if ending in ("Softmax", "Sigmoid") else "softmax")


def test_one_value_is_two_classes_in_every_writer(job: JobFolder) -> None:
    nodes = [*HEAD[:2], node("Gemm", ["flat", "one"], ["z"]), node("Squeeze", ["z", "axis"], ["out"])]
    weights = {"one": np.array([[9], [0], [-9]], np.float32), "axis": np.array([1])}
    network = write(job.folder / "one.onnx", nodes, [tensor("out", ["N"])], weights)
    digest = hashlib.sha256(network.read_bytes()).hexdigest()
    network.with_suffix(".json").write_text(json.dumps(SIDECAR | {"onnx_sha256": digest, "classes": ["cat"]}))
    kinds = (
        "[{kind: parquet, path: out, fields: [logits, top_k], k: 2}, {kind: jsonl, fields: [top_k], k: 2},"
        " {kind: csv, fields: [top_k, logits], k: 1}, {kind: npy, field: logits}, {kind: images, k: 2}]"
    )
    job.write(writer=kinds)
    job.add("a.jpg")
    job.run("--set", "infer.model=one.onnx", "--set", "run.report=true").expect(0)
    (row,) = job.rows()
    (value,) = row["logits"]
    positive = 1 / (1 + np.exp(-value))
    scores = {one["label"]: one["score"] for one in row["top_k"]}
    assert scores == pytest.approx({"not cat": 1 - positive, "cat": positive})
    assert row["top_k"][0]["score"] >= row["top_k"][1]["score"]
    header = (job.out / "part-000000.csv").read_text().splitlines()[0]
    assert header.endswith("index_1,label_1,score_1,logit_0")
    assert np.load(job.out / "npy" / "a.jpg.npy").shape == (1, 1)
    assert (
        "only 2 classes"
        in job.run("--set", "writer=[{kind: csv, path: csv, k: 3}]", "--set", "infer.model=one.onnx")
        .expect(2)
        .stderr
    )


def test_outputs_that_are_not_asked_for_do_not_matter(job: JobFolder, cli: Cli) -> None:
    write_with_others(job.folder / "others.onnx")
    job.write(fields="[features, logits]")
    job.add("a.jpg")
    job.run("--set", "infer.model=others.onnx", "--set", "infer.features=pool").expect(0)
    found = job.rows()
    job.run("--set", "writer.path=plain").expect(0)
    for row, plain in zip(found, read_rows(job.folder / "plain"), strict=True):
        assert row["logits"] == pytest.approx(plain["logits"], rel=1e-5)
        assert row["features"] == pytest.approx(plain["features"], rel=1e-5)
    (shard,) = job.out.glob("part-*.parquet")
    import pyarrow.parquet as pq

    outputs = json.loads(pq.read_schema(shard).metadata[b"resnet_pipe.outputs"])
    assert outputs["features"] == {"output": "pool", "width": 3}


def test_a_width_that_shows_only_when_the_network_runs_is_known_before_the_plan(
    job: JobFolder, cli: Cli
) -> None:
    job.write(fields="[top_k]")
    job.add("a.jpg")
    network = write_open(
        job.folder / "open.onnx", ending=[node("Softmax", ["kept"], ["out"], axis=-1)], output="out"
    )
    assert described(cli, job, network, "writer.k=8") == f"out (N, 8): {PROBABILITIES}; scores: as they are"
    job.run("--set", "infer.model=open.onnx", "--set", "writer.k=8").expect(0)
    (row,) = job.rows()
    assert sum(one["score"] for one in row["top_k"]) == pytest.approx(1)
    assert sorted(one["label"] for one in row["top_k"]) == [f"class {index}" for index in range(8)]


def test_results_of_a_softmax_of_a_softmax_are_not_mixed_with_right_ones(job: JobFolder) -> None:
    job.write(fields="[top_k]")
    job.add("a.jpg")
    ending = [node("Softmax", ["logits"], ["out"], axis=1)]
    write(job.folder / "ends.onnx", [*HEAD, *ending], [tensor("out", ROW)])
    model = ("--set", "infer.model=ends.onnx")
    job.run(*model, "--set", "infer.activation=softmax").expect(0)
    parts = json.loads((job.out / HOME / "fingerprint.json").read_text())["parts"]
    assert "infer.activation" not in parts, "as of every directory that is older than the key"
    before = job.rows()
    said = job.run(*model).expect(2).stderr
    assert 'infer.activation: "softmax" -> "none"' in said
    assert said.count(" -> ") == 1
    job.run(*model, "--fresh").expect(0)
    assert job.rows()[0]["top_k"][0]["score"] > before[0]["top_k"][0]["score"]


def test_what_makes_scores_is_no_part_of_results_without_scores(job: JobFolder, cli: Cli) -> None:
    job.write(fields="[logits]")
    job.add("a.jpg")
    job.run().expect(0)
    parts = json.loads((job.out / HOME / "fingerprint.json").read_text())["parts"]
    assert not [name for name in parts if name.startswith("infer.") and name != "infer.precision"]
    for setting in ("infer.activation=sigmoid", "infer.logits=logits"):
        cli("run", job.file, "--dry-run", "--set", setting).expect(0)
    assert (
        "infer.logits" in cli("run", job.file, "--dry-run", "--set", "infer.logits=features").expect(2).stderr
    )


def _changed(network: Path, change: Callable[[onnx.ModelProto], object]) -> Path:
    model = onnx.load(str(network))
    change(model)
    onnx.save(model, str(network))
    return network


def _bytes(data: bytes) -> Write:
    def put(path: Path) -> Path:
        path.write_bytes(data)
        return path

    return put


def _image(kind: int, *shape: int | str) -> Write:
    return lambda path: write(path, HEAD, [tensor("logits", ROW)], image=tensor("input", shape or None, kind))


def _outputs(*outputs: onnx.ValueInfoProto, more: tuple[NodeProto, ...] = ()) -> Write:
    return lambda path: write(path, [*HEAD, *more], outputs)


FLOAT = TensorProto.FLOAT
AS_INTEGERS = node("Cast", ["logits"], ["whole"], to=TensorProto.INT64)
AS_BRAIN_FLOATS = node("Cast", ["logits"], ["brain"], to=TensorProto.BFLOAT16)
ODD_HEAD = [node("GlobalAveragePool", ["image"], ["pool"]), *HEAD[1:]]
THREE = node("Constant", [], ["three"], value_ints=[3])
AS_LIST = node("SplitToSequence", ["logits"], ["list"], axis=0)

REFUSED: dict[str, tuple[Write, str, str]] = {
    "no bytes": (_bytes(b""), "[logits]", "is empty"),
    "a pointer": (_bytes(b"version https://git-lfs.github.com/spec/v1"), "[logits]", "git lfs pull"),
    "a web page": (_bytes(b"<!DOCTYPE html><html>"), "[logits]", "is a web page"),
    "a checkpoint": (
        _bytes(b"PK\3\4" + bytes(100)),
        "[logits]",
        "resnet-pipe convert ARCHITECTURE --weights",
    ),
    "the best three": (
        _outputs(
            tensor("best", ["N", 3]),
            tensor("which", ["N", 3], TensorProto.INT64),
            more=(
                THREE,
                node("TopK", ["logits", "three"], ["best", "which"]),
            ),
        ),
        "[top_k]",
        "its outputs are: best sorted (N, 3), which int64 (N, 3)",
    ),
    "text": (_bytes(b"this is not a network"), "[logits]", "is not an ONNX file"),
    "channels last": (_image(FLOAT, "N", 32, 32, 3), "[logits]", "channels last (NHWC)"),
    "channels last of any size": (_image(FLOAT, "N", "H", "W", 3), "[logits]", "--inputs-as-nchw input"),
    "grey": (_image(FLOAT, "N", 1, 32, 32), "[logits]", "images have 3 channels, not 1"),
    "four channels": (_image(FLOAT, "N", 4, 32, 32), "[logits]", "images have 3 channels, not 4"),
    "bytes": (_image(TensorProto.UINT8, "N", 3, 32, 32), "[logits]", "input (N, 3, 32, 32) of uint8"),
    "doubles": (_image(TensorProto.DOUBLE, "N", 3, 32, 32), "[logits]", "of float64"),
    "an input of any shape": (_image(FLOAT), "[logits]", "found input without a shape"),
    "flat pixels": (_image(FLOAT, "N", 3072), "[logits]", "found input (N, 3072)"),
    "no outputs": (_outputs(), "[logits]", "it has no outputs"),
    "an output of no node": (_outputs(tensor("x", ROW)), "[logits]", "x (not produced by any node)"),
    "a list only": (_outputs(SEQUENCE, more=(AS_LIST,)), "[top_k]", "its outputs are: list (sequence)"),
    "a scalar only": (
        _outputs(tensor("t", []), more=(node("ReduceMean", ["logits"], ["t"], keepdims=0),)),
        "[top_k]",
        "its outputs are: t (scalar)",
    ),
    "integers": (
        _outputs(tensor("whole", ROW, TensorProto.INT64), more=(AS_INTEGERS,)),
        "[top_k]",
        "whole int64 (N, 10)",
    ),
    "brain floats": (
        _outputs(tensor("brain", ROW, TensorProto.BFLOAT16), more=(AS_BRAIN_FLOATS,)),
        "[logits]",
        "brain bfloat16 (N, 10)",
    ),
    "a map": (_outputs(tensor("input", ["N", 3, 32, 32])), "[features]", "input (N, 3, 32, 32)"),
    "no features": (_outputs(tensor("logits", ROW)), "[features]", "no output with features"),
    "probabilities as features": (
        _outputs(tensor("p", ROW), more=(node("Softmax", ["logits"], ["p"]),)),
        "[features]",
        f"p (N, 10): {PROBABILITIES}",
    ),
    "features only": (
        _outputs(tensor("features", ["N", 3]), more=(node("Identity", ["flat"], ["features"]),)),
        "[top_k]",
        "its outputs are: features (N, 3)",
    ),
    "two of a kind": (
        _outputs(tensor("a", ROW), tensor("b", ROW), more=tuple(node("Relu", ["logits"], [n]) for n in "ab")),
        "[logits]",
        "a (N, 10), b (N, 10); name the right one: infer.logits: a",
    ),
    "cut weights": (
        lambda path: _changed(
            write(path, HEAD, [tensor("logits", ROW)]),
            lambda model: setattr(model.graph.initializer[0], "raw_data", b"1234"),
        ),
        "[logits]",
        "the weights 'weight' have 4 bytes; their shape requires 120",
    ),
    "an enormous batch": (_image(FLOAT, 1 << 20, 3, 32, 32), "[logits]", "at most 4096"),
    "two inputs": (
        lambda path: _changed(
            write(path, HEAD, [tensor("logits", ROW)]),
            lambda model: model.graph.input.append(tensor("scale", [1])),
        ),
        "[logits]",
        "found input (N, 3, 32, 32), scale (1,)",
    ),
}


def test_a_file_that_cannot_give_what_is_asked_for_is_refused_with_the_true_cause(
    job: JobFolder, cli: Cli
) -> None:
    job.add("a.jpg")
    for number, (name, (make, fields, cause)) in enumerate(REFUSED.items()):
        network = make(job.folder / f"{number}.onnx")
        settings = (f"infer.model={network}", f"writer.fields={fields}")
        arguments = [part for setting in settings for part in ("--set", setting)]
        said = cli("run", job.file, *arguments).expect(2).stderr
        assert cause in said, f"{name}: {said}"
    assert not job.out.exists()


BROKEN: dict[str, tuple[Write, str]] = {
    "a width that is not true": (
        _outputs(tensor("logits", ["N", 12])),
        "output 'logits' has 10 values per image; the file says 12",
    ),
    "a map of unknown size": (
        lambda path: write(
            path,
            [
                node("ReduceMean", ["input"], ["grey"], axes=[1]),
                node("NonZero", ["ones"], ["places"]),
                node("Squeeze", ["places", "axis"], ["rows"]),
                node("Gather", ["grey", "rows"], ["strip"], axis=2),
                node("Gather", ["strip", "rows"], ["out"], axis=3),
            ],
            [tensor("out", None)],
            {"ones": np.ones(4, np.float32), "axis": np.array([0])},
        ),
        "not one row of numbers per image",
    ),
    "an operator of nobody's": (
        lambda path: write(
            path, [helper.make_node("Frob", ["input"], ["logits"], domain="my.own")], [tensor("logits", ROW)]
        ),
        "Frob",
    ),
    "a node before its input": (
        lambda path: _changed(
            write(path, HEAD, [tensor("logits", ROW)]), lambda model: model.graph.node.reverse()
        ),
        "cannot run",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_does_not_run_is_refused_by_the_proof_before_the_run(job: JobFolder, name: str) -> None:
    make, cause = BROKEN[name]
    job.write(fields="[logits]")
    job.add("a.jpg")
    make(job.folder / "broken.onnx")
    said = job.run("--set", "infer.model=broken.onnx").expect(2).stderr
    assert cause in said
    assert not list(job.out.glob("part-*"))


@pytest.mark.parametrize("engine", ["opencv", "onnxruntime"])
def test_an_operator_that_an_engine_does_not_know_is_named_and_nothing_else_is_printed(
    job: JobFolder, engine: str
) -> None:
    pytest.importorskip(engine.replace("opencv", "cv2"))
    job.write(fields="[logits]", infer=f"engine: {engine}")
    job.add("a.jpg")
    write(job.folder / "odd.onnx", [node("Magic", ["input"], ["image"]), *ODD_HEAD], [tensor("logits", ROW)])
    said = job.run("--set", "infer.model=odd.onnx").expect(2).stderr
    assert said.startswith("asking the other engines whether they can run it\nerror: ")
    assert "Magic" in said
    assert "No Op registered for Magic" in said or engine == "opencv"


def test_a_file_for_one_batch_size_runs_with_it(job: JobFolder, cli: Cli) -> None:
    job.write(fields="[logits]", batch_size=2)
    job.add("a.jpg", "b.jpg", "c.jpg")
    nodes = [HEAD[0], node("Reshape", ["pool", "shape"], ["flat"]), HEAD[2]]
    image = tensor("input", [2, 3, 32, 32])
    write(
        job.folder / "two.onnx", nodes, [tensor("logits", [2, CLASSES])], {"shape": np.array([2, 3])}, image
    )
    job.run("--set", "infer.model=two.onnx", "--set", "infer.batch_size=auto").expect(0)
    assert job.summary()["batch_size"] == 2
    found = job.rows()
    job.run("--set", "writer.path=plain").expect(0)
    for row, plain in zip(found, read_rows(job.folder / "plain"), strict=True):
        assert row["logits"] == pytest.approx(plain["logits"], rel=1e-5)


def test_the_only_output_is_what_the_job_asks_for(job: JobFolder, cli: Cli) -> None:
    job.add("a.jpg")
    network = write(job.folder / "only.onnx", HEAD[:1], [tensor("pool", ["N", 3, 1, 1])])
    assert described(cli, job, network, "writer.fields=[features]") == "pool (N, 3, 1, 1): features"
    assert described(cli, job, network, "writer.fields=[logits]") == "pool (N, 3, 1, 1): logits"
    tiny = write_tiny(job.folder / "both.onnx")
    for field in ("logits", "features"):
        assert described(cli, job, tiny, f"writer.fields=[{field}]").startswith(f"{field} (N, ")
