"""On a processor whose sums of int8 products saturate, no run computes a model wrong."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from resnet_pipe.errors import ExitCode
from resnet_pipe.machine import processor
from resnet_pipe.model.network import inspect
from tests import networks
from tests.run.faults import pretend
from tests.run.jobs import JobFolder, numbered

pytest.importorskip("onnxruntime")
pytestmark = [
    pytest.mark.skipif(not processor.is_x86(), reason="nothing saturates on other processors"),
    pytest.mark.skipif(find_spec("openvino") is None, reason="needs OpenVINO"),
]

AVX2 = "fpu avx avx2 f16c fma"
SAID = "engine openvino would add products in 16 bits, which saturates"


def make_job(folder: Path, weight_bits: int) -> JobFolder:
    """Return a job with three images, in OpenVINO, whose int8 model has weights of so many bits."""
    source = networks.write_residual(folder / "source.onnx")
    network = networks.write_int8(source, folder / "int8.onnx", weight_bits=weight_bits)
    (folder / "job").mkdir()
    job = JobFolder(folder / "job", network)
    job.write(infer="engine: openvino")
    job.add(*numbered(3))
    return job


def test_an_int8_model_that_the_engine_would_compute_wrong_is_refused_with_what_to_do(tmp_path: Path) -> None:
    job = make_job(tmp_path, weight_bits=8)
    processor = pretend(job, AVX2)
    said = job.run(faults=processor).expect(ExitCode.USAGE).stderr
    assert "job.yaml:4:9: infer.model: the int8 model has 8-bit weights" in said
    assert SAID in said
    assert "resnet-pipe convert --quantize" in said
    assert "infer.engine: onnxruntime" in said
    assert not job.out.exists()
    job.run("--set", "infer.engine=onnxruntime", faults=processor).expect(ExitCode.DONE)
    assert len(job.rows()) == 3


@pytest.mark.parametrize(("weight_bits", "flags"), [(7, AVX2), (8, f"{AVX2} avx_vnni")])
def test_it_runs_with_weights_of_7_bits_or_on_a_processor_with_vnni(
    tmp_path: Path, weight_bits: int, flags: str
) -> None:
    job = make_job(tmp_path, weight_bits)
    job.run(faults=pretend(job, flags)).expect(ExitCode.DONE)
    assert len(job.rows()) == 3


def test_verify_says_that_the_engine_cannot(tmp_path: Path) -> None:
    job = make_job(tmp_path, weight_bits=8)
    arguments = ("--engine", "openvino", "--engine", "onnxruntime", "--json")
    with job.start(*arguments, command="verify", faults=pretend(job, AVX2)) as running:
        rows = {row["engine"]: row for row in json.loads(running.end().stdout)["engines"]}
    assert rows["openvino"]["status"] == "cannot run"
    assert SAID in rows["openvino"]["reason"]
    assert "infer.engine: onnxruntime" in rows["openvino"]["remedy"]
    assert rows["onnxruntime"]["status"] == "pass"


def test_engine_auto_does_not_take_it_untried(tmp_path: Path) -> None:
    job = make_job(tmp_path, weight_bits=8)
    for image in job.images.iterdir():
        image.write_bytes(b"nothing that an engine could be tried with")
    auto = ("--set", "infer.engine=auto")
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    result = job.run(*auto, faults=pretend(job, AVX2), env=cache).expect(ExitCode.SOME_FAILED)
    assert "engine auto chose onnxruntime int8" in result.stderr


def write_anew(path: Path, change: str) -> Path:
    """Write an int8 network whose weights have 7 bits, and change how it holds them."""
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    source = networks.write_residual(path.with_name("source.onnx"))
    model = onnx.load(networks.write_int8(source, path, weight_bits=7))
    weights = model.graph.initializer
    kernel = next(one for one in weights if one.data_type == onnx.TensorProto.INT8 and len(one.dims) == 4)
    values = numpy_helper.to_array(kernel).copy()
    values.flat[-1] = {"65": 65, "-65": -65, "64": 64}.get(change, 127)
    changed = numpy_helper.from_array(values, kernel.name)
    if change in ("64", "65", "-65", "outside", "lost"):
        kernel.CopyFrom(changed)
    elif change == "node":
        weights.remove(kernel)
        model.graph.node.insert(0, helper.make_node("Constant", [], [kernel.name], value=changed))
    elif change == "rounded when loaded":
        weights.remove(kernel)
        weights.append(numpy_helper.from_array(values.astype(np.float32), "float kernel"))
        scale = next(node.input[1:] for node in model.graph.node if kernel.name in node.input)
        model.graph.node.insert(
            0, helper.make_node("QuantizeLinear", ["float kernel", *scale], [kernel.name])
        )
    outside = change in ("outside", "lost")
    onnx.save(model, path, save_as_external_data=outside, location="weights", size_threshold=0)
    if change == "lost":
        (path.parent / "weights").write_bytes(b"short")
    return path


@pytest.mark.parametrize(
    ("change", "full_range"),
    [
        ("none of them", False),
        ("64", False),
        ("65", True),
        ("-65", True),
        ("outside", True),
        ("lost", True),
        ("node", True),
        ("rounded when loaded", True),
    ],
)
def test_wherever_a_model_holds_its_weights_their_range_is_seen(
    tmp_path: Path, change: str, full_range: bool
) -> None:
    path = tmp_path / "int8.onnx"
    if change == "none of them":
        networks.write_int8(networks.write_residual(tmp_path / "source.onnx"), path, weight_bits=7)
    else:
        write_anew(path, change)
    assert inspect(path).full_range == full_range


def test_a_network_that_computes_in_float_has_no_range(tmp_path: Path) -> None:
    assert not inspect(networks.write_residual(tmp_path / "float.onnx")).full_range
