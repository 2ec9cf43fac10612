"""The engine opencv on CUDA: what runs there runs there entirely, and gives what the CPU gives."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx import helper

from resnet_pipe.errors import DeviceError
from resnet_pipe.infer.engine import load
from tests import networks
from tests.infer.requests import photos, request
from tests.run.jobs import JobFolder, numbered, read_rows

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        cv2.cuda.getCudaEnabledDeviceCount() < 1, reason="needs an NVIDIA GPU and a build of cv2 with CUDA"
    ),
]


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a ResNet is made of, in a small network. Do not change it."""
    return networks.write_residual(tmp_path_factory.mktemp("network") / "residual.onnx")


def test_float32_on_cuda_gives_what_the_cpu_gives(residual: Path) -> None:
    expected = load("opencv", request(residual)).infer(photos())
    found = load("opencv", request(residual, device="cuda")).infer(photos())
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-4)


def test_half_precision_is_near_and_comes_out_as_float32(residual: Path) -> None:
    expected = load("opencv", request(residual)).infer(photos())
    engine = load("opencv", request(residual, device="cuda", precision="fp16"))
    assert engine.describe().precision == "fp16"
    for name, values in engine.infer(photos()).items():
        assert values.dtype == np.float32
        assert not np.array_equal(values, expected[name]), "this was float32"
        np.testing.assert_allclose(values, expected[name], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_row_does_not_depend_on_the_batch_it_is_in(residual: Path, precision: str) -> None:
    engine = load("opencv", request(residual, device="cuda", precision=precision))
    whole = engine.infer(photos())
    for count in (1, 3):
        for name, values in engine.infer(photos()[:count]).items():
            assert np.array_equal(values, whole[name][:count])
    engine.shrink(2)
    for name, values in engine.infer(photos()[:2]).items():
        np.testing.assert_allclose(values, whole[name][:2], rtol=1e-2, atol=1e-2)


def test_the_proof_counts_every_layer_on_cuda_and_none_elsewhere(residual: Path) -> None:
    info = load("opencv", request(residual, device="cuda")).describe()
    counted = re.search(r"(\d+) layers on CUDA, 0 on the CPU", info.proof)
    assert counted is not None, info.proof
    assert int(counted[1]) >= 6  # 3 convolutions, 2 poolings, 1 Gemm; the others may be fused into them
    assert re.fullmatch(r"cuda:0 \(architecture \d+\.\d+\)", info.device)


@pytest.mark.parametrize("index", range(max(1, cv2.cuda.getCudaEnabledDeviceCount())))
def test_every_gpu_can_be_used_from_a_thread_that_did_not_load_the_network(
    residual: Path, index: int
) -> None:
    engine = load("opencv", request(residual, device=f"cuda:{index}"))
    assert engine.describe().device.startswith(f"cuda:{index} ")
    expected = engine.infer(photos())
    with ThreadPoolExecutor(1) as thread:
        found = thread.submit(engine.infer, photos()).result()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_a_network_with_a_layer_that_cuda_lacks_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["input"], ["a"]),
        helper.make_node("ReduceMean", ["a"], ["b"], axes=[2, 3], keepdims=0),
        helper.make_node("Gemm", ["b", "weight", "bias"], ["logits"], transB=1),
    ]
    network = networks.write(
        tmp_path / "mean.onnx", nodes, {"logits": networks.CLASSES}, networks.classifier(3)
    )
    with pytest.raises(DeviceError, match="and 1 on the CPU") as caught:
        load("opencv", request(network, ("logits",), device="cuda"))
    assert "resnet-pipe convert" in str(caught.value.remedy)


def test_a_gpu_that_is_not_there_is_told_from_those_that_are(residual: Path) -> None:
    with pytest.raises(DeviceError, match="cuda:99 does not exist: there are"):
        load("opencv", request(residual, device="cuda:99"))


def test_auto_takes_cuda(residual: Path) -> None:
    assert load("opencv", request(residual, device="auto")).describe().device.startswith("cuda:0")


@pytest.mark.parametrize("devices", ["cuda:all", "[cuda:0, cuda:0]"])
def test_engine_processes_on_cuda_give_the_rows_of_the_cpu(
    tmp_path: Path, residual: Path, devices: str
) -> None:
    count = cv2.cuda.getCudaEnabledDeviceCount() if devices == "cuda:all" else 2
    job = JobFolder(tmp_path, residual)
    job.add(*numbered(40))
    job.run().expect(0)
    other = tmp_path / "cuda"
    job.run("--set", f"infer.device={devices}", "--set", f"writer.path={other}").expect(0)
    (summary,) = other.glob("_resnet_pipe/runs/*/run.json")
    used = json.loads(summary.read_text())["devices"]
    assert len(used) == count
    assert all(device["device"].startswith("cuda:") for device in used)
    assert sum(device["items"] for device in used) == 40
    for ours, theirs in zip(read_rows(other), job.rows(), strict=True):
        assert ours["path"] == theirs["path"]
        np.testing.assert_allclose(ours["features"], theirs["features"], rtol=1e-4, atol=1e-4)


def test_a_job_on_cuda_says_so_and_gives_the_rows_of_the_cpu(tmp_path: Path, residual: Path) -> None:
    job = JobFolder(tmp_path, residual)
    job.add(*numbered(5))
    job.run().expect(0)
    other = tmp_path / "cuda"
    job.run("--set", "infer.device=cuda", "--set", f"writer.path={other}").expect(0)
    (summary,) = other.glob("_resnet_pipe/runs/*/run.json")
    assert json.loads(summary.read_text())["engine"]["device"].startswith("cuda:0")
    for ours, theirs in zip(read_rows(other), job.rows(), strict=True):
        assert ours["path"] == theirs["path"]
        np.testing.assert_allclose(ours["features"], theirs["features"], rtol=1e-4, atol=1e-4)
