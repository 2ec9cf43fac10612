"""The engine onnxruntime: what it refuses, and that it never goes on elsewhere in silence."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from ctypes.util import find_library
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from resnet_pipe.errors import DeviceError, ExitCode, MissingExtraError, ModelError
from resnet_pipe.infer.engine import EngineRequest, batch_size, devices, load
from resnet_pipe.machine import processor
from resnet_pipe.machine.nvidia import visible_gpus
from tests import networks
from tests.infer.requests import photos, preprocessing, request
from tests.run.jobs import JobFolder, numbered

onnxruntime = pytest.importorskip("onnxruntime")

ON_CPU = "CPUExecutionProvider"
HAS_CUDA = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
NO_CUDA = pytest.mark.skipif(HAS_CUDA, reason="this onnxruntime has CUDA, which may work here")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return networks.write_tiny(tmp_path / "tiny.onnx")


@pytest.fixture
def pretends_to_have_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """An onnxruntime that says it was built with CUDA and TensorRT, and cannot load them."""
    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", ON_CPU]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)


def refused(wanted: EngineRequest) -> DeviceError:
    with pytest.raises(DeviceError) as caught:
        load("onnxruntime", wanted)
    assert caught.value.remedy
    return caught.value


def test_without_its_library_the_extra_is_named(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for ask in (
        lambda: devices("onnxruntime"),
        lambda: batch_size("onnxruntime", "cpu"),
        lambda: load("onnxruntime", request(tiny)),
    ):
        with pytest.raises(MissingExtraError, match="onnxruntime") as caught:
            ask()
        assert caught.value.remedy == "pip install 'resnet-pipe[onnxruntime]'"


def test_what_it_says_it_runs_on_is_what_the_session_says(tiny: Path) -> None:
    info = load("onnxruntime", request(tiny)).describe()
    assert info.version == onnxruntime.__version__
    assert info.proof == f"the session's providers: {ON_CPU}"
    assert (info.streams, info.threads) == (2, 2)


@NO_CUDA
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "tensorrt"])
def test_a_build_without_the_device_says_so_and_names_the_package_that_has_it(
    tiny: Path, device: str
) -> None:
    error = refused(request(tiny, device=device))
    assert f"was built without {device.partition(':')[0]}" in error.problem
    assert "pip install onnxruntime-gpu" in str(error.remedy)


@NO_CUDA
@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
@pytest.mark.usefixtures("pretends_to_have_gpus")
def test_a_device_whose_libraries_do_not_load_is_refused_instead_of_the_cpu_taken(
    tiny: Path, device: str
) -> None:
    error = refused(request(tiny, device=device))
    assert f"on {device}: " in error.problem
    assert "nvidia-smi" in str(error.remedy)


@NO_CUDA
@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")
@pytest.mark.usefixtures("pretends_to_have_gpus")
def test_auto_takes_the_cpu_when_cuda_does_not_work_and_says_why(tiny: Path) -> None:
    info = load("onnxruntime", request(tiny, device="auto")).describe()
    assert info.device == "cpu"
    assert info.note.startswith("using the CPU: ")
    assert "cuda" in info.note


@pytest.mark.usefixtures("pretends_to_have_gpus")
def test_batches_are_large_on_a_gpu_and_small_on_the_cpu() -> None:
    sizes = {name: batch_size("onnxruntime", name) for name in ("cpu", "cuda:1", "tensorrt", "auto")}
    assert sizes == {"cpu": 8, "cuda:1": 64, "tensorrt": 64, "auto": 64}


@pytest.mark.parametrize(
    ("device", "precision", "problem"),
    [
        ("cpu", "fp16", "does not support fp16 on cpu"),
        ("cpu", "bf16", "does not support bf16 on cpu"),
        ("cuda", "int8", "does not support int8 on cuda"),
        ("tensorrt", "int8", "does not support int8 on tensorrt"),
        ("mps", "fp32", "does not support device mps"),
    ],
)
def test_a_precision_or_device_it_lacks_is_refused_with_those_it_has(
    tiny: Path, device: str, precision: str, problem: str
) -> None:
    error = refused(request(tiny, device=device, precision=precision))
    assert problem in error.problem
    assert any(name in str(error.remedy) for name in ("fp32", "cpu, cuda, tensorrt"))


def test_an_operator_it_does_not_know_is_named(tmp_path: Path) -> None:
    nodes = [helper.make_node("Frobnicate", ["input"], ["a"]), helper.make_node("Flatten", ["a"], ["logits"])]
    network = networks.write(tmp_path / "strange.onnx", nodes, {"logits": 3 * 32 * 32}, {})
    with pytest.raises(ModelError, match=r"strange\.onnx.*Frobnicate") as caught:
        load("onnxruntime", request(network, ("logits",)))
    assert "another engine" in str(caught.value.remedy)


def test_a_network_made_for_another_batch_size_says_which_one_to_ask_for(tmp_path: Path) -> None:
    nodes = [helper.make_node("Flatten", ["input"], ["logits"])]
    network = networks.write(tmp_path / "one.onnx", nodes, {"logits": 3 * 32 * 32}, {}, batch=1)
    with pytest.raises(ModelError, match="takes exactly 1 images at a time, not 4") as caught:
        load("onnxruntime", request(network, ("logits",)))
    assert "infer.batch_size: 1" in str(caught.value.remedy)
    assert load("onnxruntime", request(network, ("logits",), batch_size=1)).infer(photos(1))


def test_a_network_that_only_claims_to_take_any_batch_size_is_given_whole_batches(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["pool"]),
        helper.make_node("Reshape", ["pool", "shape"], ["logits"]),
    ]
    network = networks.write(tmp_path / "liar.onnx", nodes, {"logits": 3}, {"shape": np.array([4, 3])})
    engine = load("onnxruntime", request(network, ("logits",)))
    whole, short = engine.infer(photos())["logits"], engine.infer(photos()[:3])["logits"]
    np.testing.assert_array_equal(short, whole[:3])


def test_weights_in_a_file_beside_the_network_are_found(tmp_path: Path) -> None:
    inside = networks.write_residual(tmp_path / "inside.onnx")
    outside = tmp_path / "outside.onnx"
    onnx.save(onnx.load(inside), outside, save_as_external_data=True, location="weights", size_threshold=0)
    assert (tmp_path / "weights").stat().st_size > outside.stat().st_size
    found, expected = (load("onnxruntime", request(path)).infer(photos()) for path in (outside, inside))
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_outputs_in_half_precision_come_out_as_float32(tmp_path: Path) -> None:
    network = networks.write_tiny(tmp_path / "tiny.onnx")
    model = onnx.load(network)
    model.graph.node[-1].output[0] = "wide"
    model.graph.node.append(helper.make_node("Cast", ["wide"], ["logits"], to=TensorProto.FLOAT16))
    logits = next(value for value in model.graph.output if value.name == "logits")
    logits.type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.save(model, network)
    assert load("onnxruntime", request(network)).infer(photos())["logits"].dtype == np.float32


@pytest.mark.skipif(not processor.is_x86(), reason="nothing saturates on other processors")
def test_where_sums_saturate_it_is_told_to_sum_exactly(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, str]] = []
    tell = onnxruntime.SessionOptions.add_session_config_entry

    def listen(options: object, key: str, value: str) -> None:
        told.append((key, value))
        tell(options, key, value)

    monkeypatch.setattr(onnxruntime.SessionOptions, "add_session_config_entry", listen)
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    for flags, exactly in (("avx2", True), ("avx2 avx512_vnni", False)):
        (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
        told.clear()
        load("onnxruntime", request(tiny))
        assert (("session.x64quantprecision", "1") in told) == exactly


def test_streams_and_threads_are_those_asked_for(tiny: Path) -> None:
    wanted = replace(request(tiny, preprocess=preprocessing()), threads=12)
    for streams, expected in ((None, 8), (3, 3), (16, 16)):
        engine = load("onnxruntime", replace(wanted, streams=streams))
        assert engine.streams == expected
        assert engine.describe().threads == max(12, expected)


@NO_CUDA
@pytest.mark.parametrize(
    ("setting", "remedy"),
    [
        ("infer.device=cuda", "pip install onnxruntime-gpu"),
        (
            "infer.device=mps",
            "engine onnxruntime does not support device mps; it supports: cpu, cuda, tensorrt",
        ),
        (
            "infer.precision=fp16",
            "engine onnxruntime does not support fp16 on cpu here; it supports: fp32, int8",
        ),
    ],
)
def test_the_command_ends_with_code_2_reason_and_remedy_and_writes_no_row(
    tmp_path: Path, tiny: Path, setting: str, remedy: str
) -> None:
    (tmp_path / "job").mkdir()
    job = JobFolder(tmp_path / "job", tiny)
    job.write(infer="engine: onnxruntime")
    job.add(*numbered(1))
    said = job.run("--set", setting).expect(ExitCode.USAGE).stderr
    assert said.startswith("error: ")
    assert remedy in said
    assert list(job.out.glob("part-*")) == []


def test_a_job_says_in_its_record_what_ran(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "job").mkdir()
    job = JobFolder(tmp_path / "job", tiny)
    job.write(infer="engine: onnxruntime")
    job.add(*numbered(5))
    result = job.run().expect(0)
    assert "onnxruntime:" not in result.stderr, "no warning of the library"
    assert job.summary()["engine"]["name"] == "onnxruntime"
    assert len(job.rows()) == 5


def needs(device: str) -> pytest.MarkDecorator:
    """Skip a test where this device cannot be, and say what it needs."""
    if not HAS_CUDA or visible_gpus() == 0:
        return pytest.mark.skipif(True, reason="needs an NVIDIA GPU and onnxruntime-gpu")
    no_tensorrt = device == "tensorrt" and find_library("nvinfer") is None
    return pytest.mark.skipif(no_tensorrt, reason="needs TensorRT where the loader finds it")


@pytest.mark.gpu
class TestGpu:
    """On a real GPU."""

    @pytest.mark.parametrize(
        "device", [pytest.param(name, marks=needs(name)) for name in ("cuda", "tensorrt")]
    )
    def test_it_gives_what_the_cpu_gives_whatever_the_batch(self, tmp_path: Path, device: str) -> None:
        residual = networks.write_residual(tmp_path / "residual.onnx")
        expected = load("onnxruntime", request(residual)).infer(photos())
        for precision, tolerance in (("fp32", 1e-4), ("fp16", 1e-2)):
            engine = load("onnxruntime", request(residual, device=device, precision=precision))
            assert engine.describe().device == f"{device}:0"
            for count in (4, 1):
                found = engine.infer(photos()[:count])
                for name, values in expected.items():
                    np.testing.assert_allclose(found[name], values[:count], rtol=tolerance, atol=tolerance)
                    assert precision == "fp32" or not np.array_equal(found[name], values[:count])

    @needs("cuda")
    def test_the_proof_says_that_no_node_is_on_the_cpu(self, tmp_path: Path) -> None:
        residual = networks.write_residual(tmp_path / "residual.onnx")
        proof = load("onnxruntime", request(residual, device="cuda")).describe().proof
        assert proof.startswith("the session's providers: CUDAExecutionProvider")
        assert proof.endswith("no node is on the CPU")

    @needs("cuda")
    def test_a_thread_that_did_not_load_the_network_can_use_it(self, tmp_path: Path) -> None:
        residual = networks.write_residual(tmp_path / "residual.onnx")
        engine = load("onnxruntime", request(residual, device="cuda"))
        expected = engine.infer(photos())
        with ThreadPoolExecutor(1) as thread:
            found = thread.submit(engine.infer, photos()).result()
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-5)

    @needs("cuda")
    def test_a_gpu_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        refused(request(networks.write_tiny(tmp_path / "tiny.onnx"), device="cuda:99"))
