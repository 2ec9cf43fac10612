"""The engine torch: what it says about devices is so, and nothing falls back in silence."""

from __future__ import annotations

import importlib.util
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from resnet_pipe.errors import DeviceError, EngineError, MissingExtraError
from resnet_pipe.infer.engine import devices, load
from resnet_pipe.machine import processor
from tests import networks
from tests.infer.requests import photos, request


@pytest.fixture
def torch() -> ModuleType:
    module: ModuleType = pytest.importorskip("torch")
    return module


@pytest.fixture
def residual(tmp_path: Path) -> Path:
    return networks.write_residual(tmp_path / "residual.onnx")


def test_a_missing_torch_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"resnet-pipe\[torch\]"):
        devices("torch")


def test_a_job_is_checked_without_importing_torch(torch: ModuleType) -> None:
    code = (
        "import sys; from resnet_pipe.infer.engine import devices, batch_size; "
        "devices('torch'); batch_size('torch', 'auto'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("flags", "precisions"),
    [
        ("fpu sse2 avx2", ("fp32",)),
        ("fpu sse2 avx512f avx512bw avx512vl avx512dq", ("fp32",)),
        ("fpu sse2 avx512f avx512_bf16", ("fp32",)),
        ("fpu sse2 avx512f avx512bw avx512vl avx512dq avx512_bf16", ("fp32", "bf16")),
        ("fpu avx512bw avx512vl avx512dq amx_tile amx_bf16", ("fp32", "bf16")),
        ("fpu avx2 avx_ne_convert", ("fp32", "bf16")),
    ],
)
def test_the_cpu_has_bf16_where_it_has_instructions_for_it(
    torch: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: str,
    precisions: tuple[str, ...],
) -> None:
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    assert devices("torch")["cpu"] == ("fp32",), "not Linux"
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: none\n")
    assert devices("torch")["cpu"] == precisions


def test_bf16_that_the_cpu_lacks_is_refused(
    torch: ModuleType, residual: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "none")
    with pytest.raises(DeviceError, match="does not support bf16 on cpu") as caught:
        load("torch", request(residual, precision="bf16"))
    assert "fp32" in str(caught.value.remedy)


def test_bf16_is_near_and_comes_out_as_float32(torch: ModuleType, residual: Path) -> None:
    if not processor.computes_bf16():
        pytest.skip("this CPU has no bf16")
    expected = load("torch", request(residual)).infer(photos())
    engine = load("torch", request(residual, precision="bf16"))
    assert engine.describe().precision == "bf16"
    for name, values in engine.infer(photos()).items():
        assert values.dtype == np.float32
        assert not np.array_equal(values, expected[name]), "this was float32"
        np.testing.assert_allclose(values, expected[name], rtol=3e-2, atol=3e-2)


def test_without_amx_the_user_is_told_that_bf16_is_slow(
    torch: ModuleType, residual: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not processor.computes_bf16():
        pytest.skip("this CPU has no bf16")
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    for more, told in (("", True), (" amx_bf16", False)):
        flags = f"avx512bw avx512vl avx512dq avx512_bf16{more}"
        (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
        info = load("torch", request(residual, precision="bf16")).describe()
        assert ("no AMX" in info.note) == told


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="oneDNN is used on x86")
def test_convolutions_take_along_what_follows_them(torch: ModuleType, residual: Path) -> None:
    proof = load("torch", request(residual)).describe().proof
    assert "3 convolutions in fp32, 3 of them fused by oneDNN" in proof


def test_each_stream_has_its_share_of_the_threads(torch: ModuleType, residual: Path) -> None:
    wanted = replace(request(residual), threads=6)
    assert load("torch", wanted).streams == 6
    engine = load("torch", replace(wanted, streams=2))
    with ThreadPoolExecutor(1) as thread:
        thread.submit(engine.infer, photos()).result()
        assert thread.submit(torch.get_num_threads).result() == 3
    assert engine.describe().threads == 6


def test_what_torch_raises_during_a_pass_is_an_engine_error(
    torch: ModuleType, residual: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load("torch", request(residual))
    expected = engine.infer(photos())
    for error in (torch.OutOfMemoryError("CUDA out of\nmemory"), RuntimeError("broken"), MemoryError()):
        with monkeypatch.context() as patch:

            def fail(*_: object, error: Exception = error) -> None:
                raise error

            patch.setattr(torch, "from_numpy", fail)
            with pytest.raises(EngineError, match="batch of 4"):
                engine.infer(photos())
    for name, values in engine.infer(photos()).items():
        assert np.array_equal(values, expected[name])


def test_the_slot_may_be_read_only(torch: ModuleType, residual: Path) -> None:
    batch = photos()
    batch.flags.writeable = False
    load("torch", request(residual)).infer(batch)


class TestWithoutCuda:
    """On a machine whose torch cannot use an NVIDIA GPU, or is made to say so."""

    @pytest.fixture(autouse=True)
    def _no_gpu(self, torch: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(sys, "platform", "linux")

    def refused(self, network: Path, device: str = "cuda", precision: str = "fp32") -> DeviceError:
        with pytest.raises(DeviceError) as caught:
            load("torch", request(network, device=device, precision=precision))
        assert caught.value.remedy
        return caught.value

    def test_a_build_without_cuda_says_so(
        self, torch: ModuleType, residual: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
        assert "built without CUDA" in self.refused(residual).problem

    def test_a_machine_without_a_driver_is_sent_to_nvidia_smi(self, residual: Path) -> None:
        error = self.refused(residual)
        assert "no NVIDIA driver" in error.problem
        assert "nvidia-smi" in str(error.remedy)

    def test_the_reason_that_torch_gives_is_passed_on(
        self, torch: ModuleType, residual: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def too_old() -> bool:
            import warnings

            warnings.warn("The NVIDIA driver on your system is\ntoo old", stacklevel=1)
            return False

        monkeypatch.setattr(torch.cuda, "is_available", too_old)
        assert "driver on your system is too old" in self.refused(residual).problem

    def test_a_gpu_that_is_not_there_is_told_from_those_that_are(
        self, torch: ModuleType, residual: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        error = self.refused(residual, "cuda:2")
        assert "cuda:2 does not exist" in error.problem
        assert "cuda:1" in str(error.remedy)

    def test_bf16_on_a_gpu_that_only_emulates_it_is_refused(
        self, torch: ModuleType, residual: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _index: (7, 5))
        error = self.refused(residual, precision="bf16")
        assert "7.5" in error.problem
        assert "fp16" in str(error.remedy)

    def test_mps_is_refused_elsewhere_than_on_a_mac(self, residual: Path) -> None:
        assert "Apple" in self.refused(residual, "mps").problem

    def test_auto_says_why_it_took_the_cpu_and_does_not_change_the_precision(self, residual: Path) -> None:
        note = load("torch", request(residual, device="auto")).describe().note
        assert "using the CPU" in note
        assert "no NVIDIA driver" in note
        error = self.refused(residual, "auto", "fp16")
        assert "does not support fp16 on cpu" in error.problem
        assert "no NVIDIA driver" in error.problem


def _has_cuda() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


@pytest.mark.gpu
@pytest.mark.skipif(not _has_cuda(), reason="needs an NVIDIA GPU and a torch with CUDA")
class TestCuda:
    """On a real GPU."""

    @pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("fp16", 1e-2), ("bf16", 5e-2)])
    def test_it_gives_what_the_cpu_gives(self, residual: Path, precision: str, tolerance: float) -> None:
        expected = load("torch", request(residual)).infer(photos())
        engine = load("torch", request(residual, device="cuda", precision=precision))
        assert engine.describe().device.startswith("cuda:0 (architecture ")
        assert "CUDA graph" in engine.describe().proof
        for name, values in engine.infer(photos()).items():
            assert values.dtype == np.float32
            np.testing.assert_allclose(values, expected[name], rtol=tolerance, atol=tolerance)

    def test_a_row_does_not_depend_on_the_batch_the_stream_or_the_run(self, residual: Path) -> None:
        wanted = request(residual, device="cuda", precision="fp16")
        engine, again = load("torch", wanted), load("torch", wanted)
        whole = again.infer(photos())
        with ThreadPoolExecutor(engine.streams) as threads:
            for _ in range(10):
                batches = [photos()[:count] for count in (1, 4, 3, 2)]
                for found in threads.map(engine.infer, batches):
                    for name, values in found.items():
                        assert np.array_equal(values, whole[name][: len(values)])

    def test_a_batch_that_does_not_fit_is_refused_when_loading_with_a_smaller_one(
        self, residual: Path
    ) -> None:
        import torch

        torch.cuda.set_per_process_memory_fraction(0.001)
        try:
            with pytest.raises(DeviceError, match="too little memory") as caught:
                load("torch", replace(request(residual, device="cuda"), batch_size=20_000))
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        assert "infer.batch_size: 10000" in str(caught.value.remedy)
