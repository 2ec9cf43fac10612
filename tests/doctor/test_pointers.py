"""A run that fails because of its environment points to the check of the doctor that explains it."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnet_pipe.doctor.driver import gpus_on_the_bus
from resnet_pipe.errors import (
    CheckName,
    DeviceError,
    ExitCode,
    MissingExtraError,
    ResnetPipeError,
    RunError,
    UsageError,
)
from tests import networks
from tests.doctor.environment import CUDA_BUILD, Environment
from tests.run.jobs import JobFolder, numbered, read_lines

MISSING = 'raise ImportError("{}: cannot open shared object file: No such file or directory")'


@pytest.fixture
def job(tmp_path: Path) -> JobFolder:
    """A job of three images."""
    (tmp_path / "job").mkdir()
    job = JobFolder(tmp_path / "job", networks.write_tiny(tmp_path / "tiny.onnx"))
    job.add(*numbered(3))
    return job


@pytest.mark.parametrize(
    ("error", "check"),
    [
        (DeviceError("no such device", "use another one"), "engines"),
        (DeviceError("no driver", "use another one", "cuda"), "cuda"),
        (MissingExtraError("torch", "torch", "engine torch"), "packages"),
        (RunError("no memory", "use less", "limits"), "limits"),
    ],
)
def test_the_message_ends_with_the_command_that_explains_it(error: ResnetPipeError, check: CheckName) -> None:
    _, remedy, pointer = str(error).splitlines()
    assert remedy.startswith("  what to do: ")
    assert pointer == f"  diagnose with: resnet-pipe doctor {check}"


def test_an_error_that_is_not_the_environments_points_nowhere() -> None:
    assert str(UsageError("wrong", "do it right")) == "wrong\n  what to do: do it right"


@pytest.mark.parametrize(
    ("engine", "library", "remedy"),
    [
        ("opencv", "libGL.so.1", "pip uninstall -y opencv-python "),
        ("onnxruntime", "libcudnn.so.99", "pip install 'nvidia-cublas==13.*' nvidia-cudnn-cu13"),
    ],
)
def test_a_run_without_cv2_ends_with_code_2_reason_remedy_and_check_before_a_source_is_blamed(
    job: JobFolder, environment: Environment, engine: str, library: str, remedy: str
) -> None:
    if engine != "opencv":
        pytest.importorskip(engine)
    environment.cv2(MISSING.format(library))
    run = job.run("--set", f"infer.engine={engine}", env=environment.variables).expect(ExitCode.USAGE)
    problem, what, check = run.stderr.splitlines()[-3:]
    assert problem.startswith(f"error: cv2 cannot be imported: {library}: cannot open shared object file")
    assert what.startswith(f"  what to do: {remedy}")
    assert check == "  diagnose with: resnet-pipe doctor cv2"
    assert job.summary()["exit_code"] == ExitCode.USAGE
    assert read_lines(job.out / "failures.jsonl") == []


def test_a_dry_run_says_the_same(job: JobFolder, environment: Environment) -> None:
    environment.cv2(MISSING.format("libGL.so.1"))
    arguments = ("--dry-run", "--set", "infer.engine=opencv", "--set", "infer.batch_size=auto")
    said = job.run(*arguments, env=environment.variables).expect(ExitCode.USAGE).stderr
    assert "diagnose with: resnet-pipe doctor cv2" in said


def test_a_run_on_cuda_without_a_driver_points_to_the_check_that_says_why(
    job: JobFolder, environment: Environment
) -> None:
    environment.cv2(
        "import types\ndnn = types.SimpleNamespace(Net=None)\nsetNumThreads = print\n"
        "log = types.SimpleNamespace(setLogLevel=id, LOG_LEVEL_SILENT=0)\n"
        "utils = types.SimpleNamespace(logging=log)",
        build=CUDA_BUILD.format(ptx="", cudnn="YES (ver 9.13.0)"),
        devices=-1,
    )
    run = job.run("--set", "infer.device=cuda", env=environment.variables).expect(ExitCode.USAGE)
    assert run.stderr.splitlines()[-1] == "  diagnose with: resnet-pipe doctor cuda"
    if not gpus_on_the_bus():
        found = environment.finding("cuda")
        assert found["level"] == "WARN"
        assert "libcuda.so.1" in found["text"]
        assert "docker run --gpus all" in found["remedy"]
