"""The engine openvino: what runs is read back from it, bfloat16 rounds once, and it talks to nobody."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx.helper import make_node

from resnet_pipe.errors import DeviceError, EngineError, ExitCode, MissingExtraError, ModelError
from resnet_pipe.infer import engine as engines
from resnet_pipe.infer.engine import load
from resnet_pipe.machine import processor
from tests import networks
from tests.infer.requests import Batch, photos, preprocessing, request
from tests.run.jobs import JobFolder, numbered, read_rows

try:  # not importorskip: only the engine imports it without its telemetry
    HAD = engines.devices("openvino")["cpu"]
except MissingExtraError as error:
    pytest.skip(str(error), allow_module_level=True)


def needs(precision: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(precision not in HAD, reason=f"the processor has no {precision}")


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a ResNet is made of, in a small network. Do not change it."""
    return networks.write_residual(tmp_path_factory.mktemp("network") / "residual.onnx")


def in_process(code: str, **env: str) -> str:
    """Run code in a process of its own, whose output is returned and whose errors are ours."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env={**os.environ, **env}, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def test_bfloat16_is_what_auto_takes_where_there_is_amx_and_only_there() -> None:
    had = engines.devices("openvino")
    assert list(had) == ["cpu"]
    assert had["cpu"][0] == ("bf16" if processor.multiplies_bf16_tiles() else "fp32")
    assert ("bf16" in had["cpu"]) == processor.computes_bf16()
    assert {"fp32", "int8"} <= set(had["cpu"])


def test_a_processor_without_bfloat16_is_not_made_to_emulate_it(
    residual: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["openvino"].Core, "get_property", lambda *_: ["FP32", "INT8"])
    assert engines.devices("openvino") == {"cpu": ("fp32", "int8")}
    with pytest.raises(DeviceError, match="does not support bf16 on this processor") as caught:
        load("openvino", request(residual, precision="bf16"))
    assert caught.value.remedy == "use one of: fp32, int8"


@pytest.mark.parametrize("precision", [name for name in HAD if name != "int8"])
def test_a_network_without_products_runs_in_any_precision(precision: str, tmp_path: Path) -> None:
    nodes = [
        make_node("GlobalAveragePool", ["input"], ["pooled"]),
        make_node("Flatten", ["pooled"], ["logits"]),
    ]
    pooling = networks.write(tmp_path / "pooling.onnx", nodes, {"logits": 3}, {})
    engine = load("openvino", request(pooling, ("logits",), precision=precision))
    assert "no convolutions or matrix products" in str(engine.describe())


@needs("bf16")
def test_bfloat16_is_near_float32_and_said_to_run(residual: Path) -> None:
    expected = load("openvino", request(residual)).infer(photos())
    engine = load("openvino", request(residual, precision="bf16"))
    assert engine.describe().precision == "bf16"
    assert "4 in bf16" in engine.describe().proof
    for name, values in engine.infer(photos()).items():
        assert values.dtype == np.float32
        assert not np.array_equal(values, expected[name]), "this was float32"
        np.testing.assert_allclose(values, expected[name], rtol=1e-2, atol=3e-2)


def normalised(batch: Batch) -> NDArray[np.float32]:
    """Return what torchvision's ToTensor and Normalize give, in float32, NCHW."""
    mean, std = (np.array(v, np.float32).reshape(3, 1, 1) for v in (networks.MEAN, networks.STD))
    scaled = batch.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    result: NDArray[np.float32] = (scaled - mean) / std
    return result


def rounded(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round to bfloat16, to nearest, ties to even: the upper half of a float32."""
    bits = values.view(np.uint32)
    upper = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return upper.astype(np.uint32).view(np.float32)


@needs("bf16")
def test_bfloat16_rounds_pixels_once_after_they_are_normalised_in_float32(tmp_path: Path) -> None:
    crop = 16
    width = 3 * crop * crop
    nodes = [
        make_node("Conv", ["input", "same"], ["pixels"]),
        make_node("Flatten", ["pixels"], ["features"], axis=1),
        make_node("Gemm", ["features", "weight", "bias"], ["logits"], transB=1),
    ]
    weights = {"same": np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1), **networks.classifier(width)}
    outputs = {"logits": networks.CLASSES, "features": width}
    network = networks.write(tmp_path / "pixels.onnx", nodes, outputs, weights, crop=crop)
    levels = np.arange(crop * crop, dtype=np.uint8).reshape(1, crop, crop, 1).repeat(3, axis=3)
    engine = load("openvino", request(network, precision="bf16", preprocess=preprocessing(crop)))
    seen = engine.infer(levels)["features"].reshape(3, crop, crop)
    expected = normalised(levels)[0]
    # Where float32 lies in the middle of two bfloat16, another last bit of it may go the other way.
    assert np.count_nonzero(seen != rounded(expected)) <= 3
    np.testing.assert_allclose(seen, expected, rtol=2**-8)


def write_convolution(path: Path, in_int8: bool) -> Path:
    """Write one convolution, in int8 or with the same weights in float32, and a float32 classifier."""
    kernel = np.random.default_rng(2).integers(-64, 65, (16, 3, 3, 3)).astype(np.int8)
    weights: dict[str, Any] = {**networks.classifier(16), "kernel": kernel * np.float32(0.01)}
    if in_int8:
        weights |= {"kernel": kernel, "of kernel": np.float32(0.01)}
        weights |= {"of input": np.float32(2.7 / 127), "zero": np.int8(0)}
    quantization = [
        make_node("QuantizeLinear", ["input", "of input", "zero"], ["int8 input"]),
        make_node("DequantizeLinear", ["int8 input", "of input", "zero"], ["quantized"]),
        make_node("DequantizeLinear", ["kernel", "of kernel", "zero"], ["float kernel"]),
    ]
    nodes = [
        *(quantization if in_int8 else []),
        make_node("Conv", ["quantized", "float kernel"] if in_int8 else ["input", "kernel"], ["a"]),
        make_node("Relu", ["a"], ["b"]),
        make_node("GlobalAveragePool", ["b"], ["pool"]),
        make_node("Flatten", ["pool"], ["features"], axis=1),
        make_node("Gemm", ["features", "weight", "bias"], ["logits"], transB=1),
    ]
    return networks.write(path, nodes, {"logits": networks.CLASSES, "features": 16}, weights)


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that computes in int8. Do not change it."""
    return write_convolution(tmp_path_factory.mktemp("network") / "int8.onnx", in_int8=True)


def test_an_int8_model_computes_in_int8_and_is_near_the_same_in_float32(
    quantized: Path, tmp_path: Path
) -> None:
    engine = load("openvino", request(quantized, precision="int8"))
    info = engine.describe()
    assert info.precision == "int8"
    assert re.search(r"\b1 in [ui]8\b", info.proof), info.proof
    found = engine.infer(photos())["features"]
    float32 = write_convolution(tmp_path / "float32.onnx", in_int8=False)
    expected = load("openvino", request(float32)).infer(photos())["features"]
    assert not np.array_equal(found, expected), "this was float32"
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize(("model", "precision"), [("quantized", "fp32"), ("residual", "int8")])
def test_a_network_that_computes_in_something_else_than_asked_for_is_refused(
    residual: Path, quantized: Path, model: str, precision: str
) -> None:
    network = {"residual": residual, "quantized": quantized}[model]
    with pytest.raises(
        DeviceError, match=rf"{precision} was requested, but OpenVINO computes .*\d in"
    ) as caught:
        load("openvino", request(network, precision=precision))
    assert caught.value.remedy


def test_streams_and_threads_are_those_of_the_library(residual: Path) -> None:
    one = load("openvino", replace(request(residual), threads=1))
    assert (one.streams, one.describe().streams, one.describe().threads) == (1, 1, 1)
    several = load("openvino", replace(request(residual), streams=1))
    assert (several.streams, several.describe().threads) == (1, 2)


def test_more_streams_than_there_can_be_are_an_error_that_says_how_many(residual: Path) -> None:
    with pytest.raises(DeviceError, match="3 streams were requested, but OpenVINO runs 1 ") as caught:
        load("openvino", replace(request(residual), threads=1, streams=3))
    assert "infer.streams: 1" in str(caught.value.remedy)


def test_a_network_for_another_batch_size_is_an_error_that_says_which(tmp_path: Path) -> None:
    nodes = [
        make_node("GlobalAveragePool", ["input"], ["pool"]),
        make_node("Flatten", ["pool"], ["features"], axis=1),
        make_node("Gemm", ["features", "weight", "bias"], ["logits"], transB=1),
    ]
    outputs = {"logits": networks.CLASSES}
    network = networks.write(tmp_path / "three.onnx", nodes, outputs, networks.classifier(3), batch=3)
    with pytest.raises(ModelError, match=r"three\.onnx takes exactly 3 images at a time, not 4") as caught:
        load("openvino", request(network, ("logits",)))
    assert "infer.batch_size: 3" in str(caught.value.remedy)


def test_a_network_that_gives_one_row_for_all_images_is_refused(tmp_path: Path) -> None:
    nodes = [
        make_node("ReduceMean", ["input"], ["mean"], axes=[0, 2, 3], keepdims=0),
        make_node("Reshape", ["mean", "shape"], ["features"]),
        make_node("Gemm", ["features", "weight", "bias"], ["logits"], transB=1),
    ]
    weights = {"shape": np.array([1, 3]), **networks.classifier(3)}
    network = networks.write(tmp_path / "one.onnx", nodes, {"logits": networks.CLASSES}, weights)
    with pytest.raises(ModelError, match=r"one\.onnx: output 'logits' has shape \(1, 10\) for \d images"):
        load("openvino", request(network, ("logits",)))


def test_the_operator_that_openvino_lacks_is_named(tmp_path: Path) -> None:
    nodes = [make_node("Frobnicate", ["input"], ["a"]), make_node("Flatten", ["a"], ["logits"])]
    network = networks.write(tmp_path / "odd.onnx", nodes, {"logits": 3 * 32 * 32}, {})
    with pytest.raises(ModelError, match=r"odd\.onnx: .*Frobnicate"):
        load("openvino", request(network, ("logits",)))


def test_a_file_that_is_no_onnx_is_not_tried_as_another_format(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    network = tmp_path / "network.onnx"
    network.write_text('<?xml version="1.0"?><net name="a" version="11"><layers/><edges/></net>')
    with pytest.raises(ModelError, match=r"cannot run .*network\.onnx: \w"):
        load("openvino", request(network))
    assert capfd.readouterr() == ("", "")


def test_a_file_name_that_is_not_unicode_is_read(residual: Path, tmp_path: Path) -> None:
    network = tmp_path / os.fsdecode(b"r\xe9sidu\n.onnx")
    network.write_bytes(residual.read_bytes())
    assert load("openvino", request(network)).infer(photos())["logits"].shape == (4, networks.CLASSES)


def test_a_batch_that_cannot_be_executed_is_an_engine_error_and_the_next_one_can(residual: Path) -> None:
    engine = load("openvino", request(residual))
    expected = engine.infer(photos())
    for _ in range(engine.streams + 1):
        with pytest.raises(EngineError, match=r"OpenVINO failed on a batch of 2: .*31"):
            engine.infer(photos(2, crop=31))
    found = engine.infer(photos())
    assert all(np.array_equal(found[name], values) for name, values in expected.items())


SIZES = """
import itertools
import os
from pathlib import Path

import numpy as np

from resnet_pipe.infer import openvino
from resnet_pipe.preprocess.network_input import NetworkInput
from tests.infer.requests import request
from tests.networks import MEAN, STD

many = NetworkInput((96, 96), tuple(MEAN), tuple(STD), other=(32, 48))
engine = openvino.load(request(Path(os.environ["NETWORK"]), batch_size=1, preprocess=many))
for number, size in enumerate(itertools.product(range(32, 97), range(32, 65)), 1):
    engine.infer(np.zeros((1, *size, 3), np.uint8))
    if number in (1800, 2100):
        print(int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20)
"""


@pytest.mark.slow
def test_images_of_ever_more_sizes_take_no_more_memory(tmp_path: Path) -> None:
    network = networks.write_residual(tmp_path / "any.onnx", networks.ANY)
    before, after = map(int, in_process(SIZES, NETWORK=str(network)).split())
    assert after < before + 20  # MiB; 50 if OpenVINO kept all


def test_a_missing_library_is_an_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'resnet-pipe\[openvino\]'"):
        engines.devices("openvino")


NOTE_CALLS = """
import sys
def note(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "os.fork", "subprocess.Popen"):
        print(event, arguments)
sys.addaudithook(note)
"""


def test_nothing_is_written_to_the_home_directory_and_nobody_is_called(
    residual: Path, tmp_path: Path
) -> None:
    load_it = f"""
from pathlib import Path
from resnet_pipe.infer.engine import load
from tests.infer.requests import photos, request
load("openvino", request(Path({str(residual)!r}))).infer(photos())
print("done")
"""
    paths = os.pathsep.join(sys.path)
    env = {"HOME": str(tmp_path), "PYTHONPATH": paths, "CI": ""}  # it is quiet by itself where CI is set
    assert in_process(NOTE_CALLS + load_it, **env) == "done\n"
    assert list(tmp_path.iterdir()) == []


def test_a_job_gives_the_rows_of_the_default_engine_and_records_what_ran(
    residual: Path, tmp_path: Path
) -> None:
    job = JobFolder(tmp_path, residual)
    job.add(*numbered(5))
    expected = job.undisturbed()
    job.run("--set", "infer.engine=openvino", "--set", "infer.precision=fp32").expect(ExitCode.DONE)
    for row, wanted in zip(job.rows(), read_rows(expected), strict=True):
        assert row["path"] == wanted["path"]
        np.testing.assert_allclose(row["logits"], wanted["logits"], rtol=1e-4, atol=1e-4)
    engine = job.summary()["engine"]
    assert (engine["name"], engine["device"], engine["precision"]) == ("openvino", "cpu", "fp32")
    assert "in f32" in engine["proof"]
