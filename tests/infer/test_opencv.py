"""The engine opencv: what it says about devices is measured, and nothing falls back in silence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import pytest

from resnet_pipe.errors import DeviceError, ExitCode, UnsupportedError
from resnet_pipe.infer.engine import load
from tests import networks
from tests.infer.requests import request
from tests.run.jobs import JobFolder, numbered

pytestmark = pytest.mark.cv2


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return networks.write_tiny(tmp_path / "tiny.onnx")


class FakeGpu:
    """What cv2.cuda.DeviceInfo says of a GPU."""

    compatible = True

    def __init__(self, _index: int) -> None: ...

    def majorVersion(self) -> int:  # noqa: N802 - OpenCV's name
        return 9

    def minorVersion(self) -> int:  # noqa: N802
        return 0

    def isCompatible(self) -> bool:  # noqa: N802
        return self.compatible


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> type[FakeGpu]:
    """A cv2 that says it could use a GPU, and cannot."""
    fake = type("FakeGpu", (FakeGpu,), {})
    monkeypatch.setattr(cv2.cuda, "getCudaEnabledDeviceCount", lambda: 1)
    monkeypatch.setattr(cv2.cuda, "DeviceInfo", fake)
    monkeypatch.setattr(cv2.cuda, "setDevice", lambda _index: None)
    monkeypatch.setattr(cv2.dnn, "getAvailableTargets", lambda _backend: [cv2.dnn.DNN_TARGET_CUDA])
    return fake


def test_the_description_is_that_of_the_library_and_counts_the_layers_that_ran(tiny: Path) -> None:
    info = load("opencv", request(tiny)).describe()
    assert info.version == cv2.__version__
    counted = re.search(r"(\d+) (layers on OCV/CPU|operations of the CPU graph)", info.proof)
    assert counted is not None
    assert int(counted[1]) >= 3


def refused(network: Path, device: str = "cuda") -> DeviceError:
    with pytest.raises(DeviceError) as caught:
        load("opencv", request(network, device=device))
    assert caught.value.remedy
    return caught.value


def test_a_build_without_cuda_says_so(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2.cuda, "getCudaEnabledDeviceCount", lambda: 0)
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  NVIDIA CUDA:  NO\n")
    assert "no CUDA" in refused(tiny).problem
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  NVIDIA CUDA:   YES (ver 13.0, CUFFT CUBLAS)\n")
    assert "no NVIDIA driver or GPU" in refused(tiny).problem


def test_a_machine_without_a_driver_is_sent_to_nvidia_smi(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2.cuda, "getCudaEnabledDeviceCount", lambda: -1)
    error = refused(tiny)
    assert "no NVIDIA driver" in error.problem
    assert "nvidia-smi" in str(error.remedy)


def test_a_build_for_other_gpus_names_the_architecture_that_is_missing(
    tiny: Path, gpu: type[FakeGpu]
) -> None:
    gpu.compatible = False
    assert "CUDA_ARCH_BIN=9.0" in str(refused(tiny).remedy)


def test_a_gpu_that_is_not_there_is_told_from_those_that_are(tiny: Path, gpu: type[FakeGpu]) -> None:
    error = refused(tiny, "cuda:1")
    assert "cuda:1 does not exist" in error.problem
    assert "cuda:0" in str(error.remedy)


def test_a_cv2_whose_dnn_has_no_cuda_says_so(
    tiny: Path, gpu: type[FakeGpu], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2.dnn, "getAvailableTargets", lambda _backend: [])
    assert "cv2.dnn was built without it" in refused(tiny).problem


@pytest.mark.parametrize("engine", ["classic", "new"])
def test_layers_that_run_on_the_cpu_are_never_passed_off_as_cuda(
    tiny: Path, gpu: type[FakeGpu], monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    if engine == "new":  # OpenCV 5.0's graph engine ignores the wish for CUDA, with a warning at most
        monkeypatch.delattr(cv2.dnn, "ENGINE_CLASSIC", raising=False)
    with pytest.raises(DeviceError):
        load("opencv", request(tiny, device="cuda"))


class NetOnCuda:
    """A network of which cv2 says, in the words it has for it, that some layers are left on the CPU."""

    def __init__(self, net: cv2.dnn.Net, left: int, target: str) -> None:
        self._net, self._left, self._target = net, left, target

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - all else is the network's
        return getattr(self._net, name)

    def setPreferableBackend(self, _backend: int) -> None: ...  # noqa: N802 - OpenCV's name

    def setPreferableTarget(self, _target: int) -> None: ...  # noqa: N802

    def dump(self) -> str:
        left = self._net.dump().replace("OCV/CPU", f"OCV/{self._target}", self._left)
        return left.replace("OCV/CPU", f"CUDA/{self._target}")


@pytest.mark.parametrize(("precision", "target"), [("fp32", "CUDA"), ("fp16", "CUDA_FP16")])
@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_single_layer_that_is_left_on_the_cpu_is_refused(
    tiny: Path, gpu: type[FakeGpu], monkeypatch: pytest.MonkeyPatch, left: int, precision: str, target: str
) -> None:
    read = cv2.dnn.readNetFromONNX
    monkeypatch.setattr(cv2.dnn, "readNetFromONNX", lambda *how: NetOnCuda(read(*how), left, target))
    wanted = request(tiny, device="cuda", precision=precision)
    if left:
        with pytest.raises(UnsupportedError, match=f"and {left} on the CPU: cv2.dnn has no CUDA") as no:
            load("opencv", wanted)
        assert (no.value.exit_code, str(no.value.remedy)[:17]) == (ExitCode.USAGE, "infer.device: cpu")
    else:
        assert load("opencv", wanted).describe().proof.endswith("layers on CUDA, 0 on the CPU")


def test_auto_falls_back_to_the_cpu_when_a_forward_pass_fails_and_says_why(
    tiny: Path, gpu: type[FakeGpu]
) -> None:
    info = load("opencv", request(tiny, device="auto")).describe()
    assert info.device == "cpu"
    assert "using the CPU" in info.note
    assert "cuda:0" in info.note


@pytest.mark.parametrize(
    ("setting", "remedy"),
    [
        ("infer.device=cuda:99", "what to do: "),
        ("infer.device=mps", "engine opencv does not support device mps; it supports: cpu, cuda"),
        ("infer.precision=fp16", "engine opencv does not support fp16 on cpu here; it supports: fp32"),
        ("infer.precision=int8", "resnet-pipe convert --quantize"),
    ],
)
def test_the_command_ends_with_code_2_reason_and_remedy_and_writes_no_row(
    tmp_path: Path, tiny: Path, setting: str, remedy: str
) -> None:
    (tmp_path / "job").mkdir()
    job = JobFolder(tmp_path / "job", tiny)
    job.add(*numbered(1))
    said = job.run("--set", setting).expect(ExitCode.USAGE).stderr
    assert said.startswith("error: ")
    assert remedy in said
    assert list(job.out.glob("part-*")) == []
