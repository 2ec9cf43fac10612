"""benchmarks/gpu_check.sh and what it measures with: without a GPU, with a pretended one, and on the CPU."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from benchmarks import gpu, gpu_bench, gpu_forward, gpu_table

from tests.networks import write_tiny
from tests.run.jobs import SIDECAR
from tests.study.engines import Install

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu_check.sh"
GPU = """\
case $* in
    *name*) echo "NVIDIA H200, 570.1, 143771 MiB" ;;
    *) echo 570.1 ;;
esac
"""
"""An nvidia-smi that finds a GPU, whose driver is older than CUDA 13."""
PYTHON = """\
echo "$*" >> "$LOG"
case $* in
    *" opencv-python"*|*" opencv-contrib"*) [[ " $* " == *" ${OTHER:-none} "* ]] ;;
    *find_spec*|*metadata*|*"import cv2"*)
        for missing in $LACKS; do [[ " $* " != *" $missing "* ]] || exit 1; done ;;
    *"pip install"*) [[ -z $OFFLINE ]] ;;
    *pytest*) exit "${TESTS:-0}" ;;
esac
"""
"""A Python that has all but $LACKS, and writes down what it is asked for."""


class Checkout:
    """A copy of the script in a checkout of its own, with the programs it calls.

    Args:
        folder: an empty directory.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder / "checkout"
        self.bin = folder / "bin"
        self.log = folder / "log"
        for name in ("benchmarks", "tests", "models", "dist"):
            (self.root / name).mkdir(parents=True)
        self.bin.mkdir()
        self.script = Path(shutil.copy(SCRIPT, self.root / "benchmarks"))
        (self.root / "tests" / "test_it.py").write_text("@pytest.mark.gpu\n")
        for name in gpu.NETWORKS:
            (self.root / "models" / f"{name}.onnx").touch()
        for program in ("basename", "dirname", "grep", "timeout", "bash", "env"):
            (self.bin / program).symlink_to(str(shutil.which(program)))
        self.program("python3", PYTHON)

    def program(self, name: str, text: str) -> None:
        """Put a program on the path."""
        (self.bin / name).write_text(f"#!/usr/bin/env bash\n{text}")
        (self.bin / name).chmod(0o755)

    def wheel(self, name: str) -> Path:
        """Put a wheel into dist/."""
        path = self.root / "dist" / f"opencv_python_headless-{name}-cp37-abi3-linux_x86_64.whl"
        path.touch()
        return path

    def run(self, *arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the script."""
        command = [str(shutil.which("bash")), str(self.script), *map(str, arguments)]
        environment = {"LACKS": "", "OFFLINE": "", **env, "PATH": str(self.bin), "LOG": str(self.log)}
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    @property
    def asked(self) -> list[str]:
        """Return what Python was asked for, one line each."""
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_without_nvidia_smi_one_line_says_that_there_is_no_gpu_and_nothing_is_installed(
    checkout: Checkout,
) -> None:
    done = checkout.run()
    assert done.returncode == 2
    assert done.stderr.startswith("gpu_check: no NVIDIA GPU: nvidia-smi is not here")
    assert done.stderr.count("\n") == 1
    assert (done.stdout, checkout.asked) == ("", [])


def test_a_driver_that_does_not_answer_is_no_gpu_and_its_words_are_told(checkout: Checkout) -> None:
    checkout.program("nvidia-smi", "echo Failed to initialize NVML: Driver mismatch; exit 18\n")
    done = checkout.run()
    assert done.returncode == 2
    assert "no NVIDIA GPU: nvidia-smi says: Failed to initialize NVML: Driver mismatch" in done.stderr
    assert checkout.asked == []


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--wheel", "none.whl"], "--wheel none.whl: no such file"),
        (["--wheel"], "--wheel needs a value"),
        (["--seconds", "soon"], "--seconds soon is not a number"),
        (["--frob"], "unknown option --frob"),
    ],
)
def test_wrong_usage_is_told_first(checkout: Checkout, arguments: list[str], problem: str) -> None:
    done = checkout.run(*arguments)
    assert done.returncode == 2
    assert problem in done.stderr


def test_help_is_the_text_of_the_script(checkout: Checkout) -> None:
    done = checkout.run("--help")
    assert done.returncode == 0
    assert "usage: benchmarks/gpu_check.sh [--wheel PATH]" in done.stdout
    assert "#" not in done.stdout


def test_what_is_there_is_not_installed_again_and_the_newest_wheel_is_taken(checkout: Checkout) -> None:
    checkout.program("nvidia-smi", GPU)
    new, old = checkout.wheel("5.0.0.93+cu130"), checkout.wheel("5.0.0.94+cu130")
    os.utime(old, (0, 0))
    done = checkout.run(LACKS="nvidia-cudnn-cu12")
    assert done.returncode == 0, done.stderr
    installed = [line for line in checkout.asked if "pip install" in line]
    assert [line.split()[-1] for line in installed] == [str(new)]
    tests, measuring = checkout.asked[-2:]
    assert tests == "-m pytest -m gpu -q tests/test_it.py"
    assert measuring.startswith("-m benchmarks.gpu --seconds 4")
    assert "MISSING: a driver for CUDA 13: this one is 570.1" in done.stderr


def test_every_part_that_is_missing_is_said_and_the_rest_goes_on(checkout: Checkout) -> None:
    checkout.program("nvidia-smi", GPU)
    (checkout.root / "models" / "resnet34.onnx").unlink()
    done = checkout.run(OFFLINE="1", LACKS="torch pynvml onnxruntime-gpu")
    assert done.returncode == 0
    for part in ("a wheel of OpenCV with CUDA", "torch", "nvidia-ml-py", "onnxruntime-gpu"):
        assert f"MISSING: {part}" in done.stderr
    assert "-m resnet_pipe convert resnet34 --weights random" in checkout.asked
    assert checkout.asked[-1].startswith("-m benchmarks.gpu ")


def test_cudnn_for_another_cuda_is_not_overwritten(checkout: Checkout) -> None:
    checkout.program("nvidia-smi", GPU)
    checkout.wheel("5.0.0.93+cu130")
    done = checkout.run(LACKS="nvidia-cudnn-cu13")
    assert "MISSING: cuDNN for CUDA 13, which the wheel needs: that for CUDA 12 is installed" in done.stderr
    assert not [line for line in checkout.asked if "pip install" in line]
    assert checkout.asked[-1].startswith("-m benchmarks.gpu ")


def test_a_wheel_without_its_cuda_libraries_is_given_those_of_its_cuda(checkout: Checkout) -> None:
    checkout.program("nvidia-smi", GPU)
    checkout.wheel("5.0.0.93+cu128")
    done = checkout.run(LACKS="cv2 torch nvidia-cudnn-cu13")
    installed = [line for line in checkout.asked if "pip install" in line]
    assert installed[-1].endswith("nvidia-cudnn-cu12 nvidia-cublas-cu12")
    assert "MISSING: torch for CUDA 12" in done.stderr
    assert "MISSING: what cv2 needs" in done.stderr


def test_a_second_opencv_is_told(checkout: Checkout) -> None:
    checkout.program("nvidia-smi", GPU)
    assert "MISSING: a single OpenCV" not in checkout.run().stderr
    told = checkout.run(OTHER="opencv-python").stderr
    assert "MISSING: a single OpenCV: opencv-python is installed too" in told


def test_a_failed_test_gives_exit_code_1_after_the_measurements(checkout: Checkout) -> None:
    checkout.program("nvidia-smi", GPU)
    done = checkout.run(TESTS="1")
    assert done.returncode == 1
    assert "FAILED: the tests" in done.stderr
    assert checkout.asked[-1].startswith("-m benchmarks.gpu ")


def test_a_checkout_that_cannot_be_installed_ends_it(checkout: Checkout) -> None:
    checkout.program("nvidia-smi", GPU)
    done = checkout.run(OFFLINE="1", LACKS="pyarrow")
    assert done.returncode == 1
    assert "resnet-pipe cannot be installed" in done.stderr
    assert not [line for line in checkout.asked if "benchmarks.gpu" in line]


class Measuring:
    """benchmarks.gpu on the CPU, with a network that takes no time.

    Args:
        folder: an empty directory.
        monkeypatch: for the command line.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(gpu, "SAMPLES", 4)
        network = write_tiny(folder / "tiny.onnx")
        sidecar = {**SIDECAR, "onnx_sha256": hashlib.sha256(network.read_bytes()).hexdigest()}
        (folder / "tiny.json").write_text(json.dumps(sidecar))

    def run(self, *arguments: str) -> dict[str, Any]:
        """Measure, and return the JSON."""
        places = ["--models", str(self.folder), "--out", str(self.folder)]
        fast = ["--batches", "2", "1", "--pass-seconds", "0.01", "--run-seconds", "0.01"]
        self._monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cpu", *places, *fast, *arguments])
        gpu.main()
        result: dict[str, Any] = json.loads((self.folder / "gpu.json").read_text())
        return result

    def table(self) -> str:
        """Return the Markdown, checked to be well-formed."""
        text = (self.folder / "gpu.md").read_text()
        for table in text.split("\n\n"):
            rows = [line for line in table.splitlines() if line.startswith("|")]
            assert len({line.count(" | ") for line in rows}) <= 1
        return text


@pytest.fixture
def measuring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measuring:
    return Measuring(tmp_path, monkeypatch)


def reasons(result: dict[str, Any], **what: str) -> list[str | None]:
    """Return why the passes and then the job were not measured; None where they were."""
    records = [*result["forward"], *result["runs"]]
    return [record["reason"] for record in records if what.items() <= record.items()]


def test_passes_and_job_are_measured_and_what_cannot_be_has_its_reason_and_no_figure(
    measuring: Measuring,
) -> None:
    result = measuring.run("--engines", "opencv", "--networks", "tiny", "resnet999")
    assert reasons(result, model="tiny", precision="fp32") == [None, None, None]
    first, second = result["forward"][:2]
    assert (first["batch"], second["batch"]) == (1, 2)
    for record in (first, second):
        assert record["ms_fastest"] <= record["ms"] <= record["ms_slowest"]
        assert record["images_per_second"] == pytest.approx(1000 * record["batch"] / record["ms"], rel=0.05)
        assert record["passes"] >= 3
        assert record["normalize_ms"] > 0
    job = result["runs"][0]
    assert job["run"]["items"] >= gpu_bench.FEWEST
    assert set(job["run"]["stages"]) == set(gpu_table.STAGES)
    for reason in reasons(result, model="tiny", precision="fp16")[:2]:
        assert "does not support fp16 on the CPU" in str(reason)
    for reason in reasons(result, model="resnet999"):
        assert "resnet999.onnx does not exist" in str(reason)
    unmeasured = [record for record in result["forward"] if record["reason"]]
    assert all("images_per_second" not in record for record in unmeasured)
    table = measuring.table()
    assert f"| tiny | opencv fp32 | {first['images_per_second']:.1f} |" in table
    assert "tiny opencv fp16 (batch 1, 2)" in table


def test_what_crashes_or_does_not_fit_costs_its_own_figures_only(
    measuring: Measuring, install: Install
) -> None:
    install(opencv="small", torch="crashing")
    result = measuring.run("--engines", "opencv", "torch", "--networks", "tiny")
    for reason in reasons(result, engine="torch")[:2]:
        assert "SIGSEGV" in str(reason)
    assert reasons(result, engine="torch")[2] == "no forward pass alone was measured"
    full = "cpu has too little memory for 2 images"
    assert reasons(result, engine="opencv", precision="fp32") == [None, full, None]
    mislabelled = reasons(result, engine="opencv", precision="fp16")[0]
    assert mislabelled == "fp16 on cpu was requested, but fp32 on cpu runs"
    assert "SIGSEGV" in measuring.table()


def test_an_engine_that_hangs_is_given_up(
    measuring: Measuring, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_bench, "LIMIT_S", 1.0)
    install(torch="hanging")
    with pytest.raises(SystemExit, match="nothing could be measured"):
        measuring.run("--engines", "torch", "--networks", "tiny")
    result = json.loads((measuring.folder / "gpu.json").read_text())
    assert reasons(result)[:2] == ["did not end within 1 s"] * 2
    assert "Nothing was measured." in measuring.table()


def test_what_does_not_fit_into_the_time_is_not_measured_and_says_so(measuring: Measuring) -> None:
    with pytest.raises(SystemExit, match="nothing could be measured"):
        measuring.run("--networks", "tiny", "--seconds", "0")
    result = json.loads((measuring.folder / "gpu.json").read_text())
    assert len(result["forward"]) == 2 * len(gpu.SUBJECTS)
    assert set(reasons(result)) == {"out of time"}
    assert "- not measured: out of time: tiny opencv fp32 (batch 1, 2, from JPEGs)" in measuring.table()


def test_where_nvml_knows_no_process_the_growth_of_all_gpus_is_told_as_such(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used = iter([100, 150, 900, 1250])  # of two GPUs, before and after, MiB
    nvml = SimpleNamespace(
        NVMLError=OSError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetComputeRunningProcesses=lambda _gpu: [],
        nvmlDeviceGetMemoryInfo=lambda _gpu: SimpleNamespace(used=next(used) * gpu_forward.MIB),
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert gpu_forward.Vram().look() == {"vram_mb": 1900.0, "vram_of": "GPUs"}
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu_forward.Vram().look() == {"vram_mb": None, "vram_of": None}


@pytest.mark.parametrize(
    ("proof", "layers"),
    [
        ("after the first forward pass: 73 layers on CUDA, 0 on the CPU", 0),
        ("after the first forward pass: 73 layers on CUDA, 3 on the CPU", 3),
        ("the session's providers: CUDAExecutionProvider; no node is on the CPU", 0),
        ("53 convolutions in fp16, recorded as a CUDA graph; TF32 is off", 0),
        ("after the first forward pass: 26 operations of the CPU graph", None),
    ],
)
def test_layers_that_fell_back_are_counted_from_the_words_of_the_engine(
    proof: str, layers: int | None
) -> None:
    assert gpu_table.fell_back(proof) == layers
