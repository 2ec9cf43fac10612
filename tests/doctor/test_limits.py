"""The doctor compares what a container or the system allows with what a run takes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from resnet_pipe.doctor import limits
from resnet_pipe.doctor.examination import Finding
from resnet_pipe.doctor.limits import Limits
from tests.machine.control_groups import docker

GIB = 1 << 30
ENOUGH = Limits(
    cores=8,
    machine_cores=8,
    memory=32 * GIB,
    machine_memory=32 * GIB,
    features=frozenset(["avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"]),
)


def only(found: Limits, level: str) -> Finding:
    """Return the only finding that is not OK."""
    findings = list(limits.check(found))
    assert all(finding.check == "limits" for finding in findings)
    assert all(bool(finding.remedy) == (finding.level != "OK") for finding in findings)
    (finding,) = (finding for finding in findings if finding.level != "OK")
    assert finding.level == level
    return finding


def text(found: Limits) -> str:
    findings = list(limits.check(found))
    assert {finding.level for finding in findings} == {"OK"}, findings
    return "\n".join(finding.text for finding in findings)


def test_a_machine_with_enough_of_everything_has_nothing_to_hear() -> None:
    said = text(ENOUGH)
    assert "processor: AVX2, AVX-512, VNNI (int8), AVX-512 bf16, AMX bf16, AMX int8\n" in said
    assert "8 cores for workers and engine threads\n" in said
    assert "memory 32.0 GiB: enough for ResNet-50 with one worker per core" in said
    assert "shared in anonymous memory (memfd)" in said


@pytest.mark.skipif(not Path("/proc/self/cgroup").exists(), reason="Linux")
def test_the_limits_of_this_process_are_read() -> None:
    found = Limits.read()
    assert 1 <= found.cores <= found.machine_cores
    assert 0 < found.memory <= found.machine_memory
    assert found.features
    assert {finding.level for finding in limits.check()} <= {"OK", "WARN"}


def test_a_container_is_seen_through_its_control_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(16)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    root = docker(tmp_path, memory=str(3 * GIB), cpu="200000 100000")
    (root / "proc/cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512_vnni\n\nprocessor\t: 1\n")
    found = replace(Limits.read(root), machine_memory=64 * GIB)
    assert (found.cores, found.memory) == (2, 3 * GIB)
    said = text(found)
    assert "processor: AVX2, VNNI (int8); no AMX" in said
    assert "2 cores for workers and engine threads, of 16: limited by the CPU quota" in said
    assert "memory 3.0 GiB (limited by a control group; the machine has 64.0): enough" in said


def test_a_memory_limit_that_holds_back_workers_is_a_warning() -> None:
    finding = only(replace(ENOUGH, cores=16, machine_cores=16, memory=2 * GIB), "WARN")
    assert finding.text.startswith(
        "memory 2.0 GiB (limited by a control group; the machine has 32.0); enough for ResNet-50"
    )
    assert "so runs will not start 16" in finding.text
    assert finding.remedy.startswith("docker run --memory=")


def test_a_memory_limit_below_what_any_run_takes_is_a_warning() -> None:
    finding = only(replace(ENOUGH, memory=GIB // 4), "WARN")
    assert "runs may be killed (SIGKILL)" in finding.text


@pytest.mark.parametrize(
    ("features", "said"),
    [
        (["avx2", "avx512f"], "AVX2, AVX-512; no AMX, so bf16 is no faster than fp32"),
        (["asimd", "bf16", "i8mm"], "processor: ASIMD, bf16, int8 (i8mm)\n"),
        ([], "processor: the system does not report its instruction sets"),
    ],
)
def test_the_instructions_of_the_processor_are_named(features: list[str], said: str) -> None:
    assert said in text(replace(ENOUGH, features=frozenset(features)))


def test_a_processor_without_avx2_is_a_warning() -> None:
    finding = only(replace(ENOUGH, features=frozenset(["fpu", "sse4_2"])), "WARN")
    assert "no AVX2, so networks run several times slower" in finding.text


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="Linux")
def test_a_sandbox_that_refuses_memfd_is_a_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_name: str) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "memfd_create", refuse)
    finding = only(ENOUGH, "FAIL")
    assert "memfd_create is refused (Operation not permitted)" in finding.text
    assert "seccomp" in finding.remedy
