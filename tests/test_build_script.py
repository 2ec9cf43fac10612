"""The script that builds cv2 with CUDA: what it plans and what it misses. The build is run by hand."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "docker" / "build-opencv-cuda.sh"
COMMANDS = (
    *("awk", "basename", "bash", "cat", "cut", "df", "dirname", "du", "getconf", "grep", "head"),
    *("nproc", "paste", "realpath", "sed", "sort", "tail", "tr", "uname"),
)
"""That a plan is made with, and Python."""


class Machine:
    """A machine with the commands that a build needs, or without some; and with others of ours.

    Args:
        directory: of the machine's commands, and of the build.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.commands = directory / "bin"
        self.commands.mkdir()
        for command in COMMANDS:
            found = shutil.which(command)
            assert found is not None, command
            (self.commands / command).symlink_to(found)
        headers = directory / "headers"
        headers.mkdir()
        (headers / "Python.h").touch()
        self.has("python3", str(headers))  # answers every question of the script
        self.has("g++", "12")
        self.has("strip", "")

    def lacks(self, command: str) -> None:
        (self.commands / command).unlink()

    def has(self, command: str, prints: str, exit_code: int = 0) -> None:
        path = self.commands / command
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\ncat <<'END'\n{prints}\nEND\nexit {exit_code}\n")
        path.chmod(0o755)

    def plan(self, *flags: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", SCRIPT, "--plan", "--work", "build/deep/work", "--out", "dist", *flags],
            cwd=self.directory,
            env={"PATH": str(self.commands)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine that can build, if this one can."""
    return Machine(tmp_path)


def test_the_plan_names_the_wheel_and_what_it_is_for(machine: Machine) -> None:
    result = machine.plan("--arch", "9.0,8.6", "--jobs", "1")
    assert "code for 8.6, 9.0, PTX for 9.0 and later" in result.stdout
    assert "opencv_python_headless-5.0.0.93+cu130-cp37-abi3-manylinux_" in result.stdout


def test_a_plan_leaves_nothing_behind(machine: Machine) -> None:
    machine.plan("--arch", "8.6", "--jobs", "1")
    assert {path.name for path in machine.directory.iterdir()} == {"bin", "headers"}


def test_the_gpus_of_the_machine_are_what_is_built_for(machine: Machine) -> None:
    machine.has("nvidia-smi", "8.9\n8.6\n8.9")
    assert "code for 8.6, 8.9, PTX for 8.9 and later" in machine.plan("--jobs", "1").stdout


@pytest.mark.parametrize("driver", [None, "No devices were found"])
def test_without_a_gpu_the_architecture_must_be_named(machine: Machine, driver: str | None) -> None:
    if driver is not None:
        machine.has("nvidia-smi", driver, exit_code=6)
    result = machine.plan()
    assert result.returncode == 2
    assert "this machine has no GPU" in result.stderr
    assert "--arch 8.0 (A100)" in result.stderr


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--arch", "sm_90"], "--arch sm_90: not a compute capability such as 8.6"),
        (["--arch", "8.6,"], None),
        (["--arch", "7.0"], "--arch 7.0: CUDA 13.0 builds for 7.5 to 12.1"),
        (["--arch", "13.0"], "--arch 13.0: CUDA 13.0 builds for 7.5 to 12.1"),
        (["--cuda", "11", "--arch", "8.6"], "--cuda 11: choose 12 or 13"),
        (["--jobs", "0", "--arch", "8.6"], "--jobs 0: not a positive number"),
        (["--arch"], "--arch needs a value"),
        (["--gpu", "8.6"], "unknown option --gpu"),
    ],
)
def test_wrong_usage_is_told(machine: Machine, flags: list[str], problem: str | None) -> None:
    result = machine.plan("--jobs", "1", *flags)
    assert result.returncode == (0 if problem is None else 2), result.stderr
    assert (problem or "") in result.stderr


def test_everything_that_is_missing_is_told_at_once(machine: Machine) -> None:
    machine.lacks("g++")
    machine.lacks("strip")
    machine.has("df", "Avail\n   3G")
    result = machine.plan("--arch", "8.6", "--jobs", "1000")
    assert result.returncode == 2
    assert "missing: the C++ compiler g++\n  what to do: apt-get install g++" in result.stderr
    assert "missing: strip" in result.stderr
    assert "GB of disk in" in result.stderr
    assert "3 GB are free\n  what to do: --work DIR" in result.stderr
    assert "missing: 2000 GB of memory for 1000 compilers" in result.stderr


def test_a_compiler_that_is_too_new_for_cuda_is_told(machine: Machine) -> None:
    machine.has("g++", "99")
    result = machine.plan("--arch", "8.6", "--jobs", "1")
    assert "missing: g++ of version 15 or older, for CUDA 13.0: this is 99" in result.stderr


def test_cuda_12_needs_an_installed_toolkit(machine: Machine) -> None:
    result = machine.plan("--arch", "7.0", "--cuda", "12", "--jobs", "1")
    assert "missing: the CUDA 12 toolkit, for its nvcc" in result.stderr
    assert "--cuda 13, or point to an installed one" in result.stderr
    machine.has("nvcc", "Cuda compilation tools, release 12.9, V12.9.86")
    result = machine.plan("--arch", "7.0", "--cuda", "12", "--jobs", "1")
    assert result.returncode == 0, result.stderr
    assert "PTX for 7.0 and later" in result.stdout


def test_a_python_without_venv_is_told(machine: Machine) -> None:
    machine.lacks("python3")
    result = machine.plan("--arch", "8.6", "--jobs", "1")
    assert "missing: python3\n  what to do: apt-get install python3-dev python3-venv" in result.stderr


def test_what_an_interrupted_build_has_taken_counts_as_free(machine: Machine) -> None:
    machine.has("df", "Avail\n   3G")
    (machine.directory / "build" / "deep" / "work").mkdir(parents=True)
    machine.has("du", "11G\tbuild/deep/work")
    assert machine.plan("--arch", "8.6", "--jobs", "1").returncode == 0


def test_as_many_compilers_as_the_memory_has_room_for(machine: Machine) -> None:
    machine.has("nproc", "4096")
    result = machine.plan("--arch", "8.6")
    assert result.returncode == 0, result.stderr
    assert "4096 compilers" not in result.stdout
