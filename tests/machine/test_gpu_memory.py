"""The memory of the GPU, against an NVML made by hand: there is none here."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest

from resnet_pipe.machine.nvidia import VramMeter

MIB = 2**20


class _NvmlError(Exception):
    pass


def fake_nvml(uses: list[list[tuple[int, int | None]]]) -> SimpleNamespace:
    """Return a pynvml of two GPUs; at each look, the next list of (pid, bytes) is on the second."""
    remaining = iter(uses)

    def processes(device: int) -> list[SimpleNamespace]:
        if device == 0:
            return []
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in next(remaining)]

    return SimpleNamespace(
        NVMLError=_NvmlError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetComputeRunningProcesses=processes,
    )


def test_the_peak_is_of_the_own_process_only(monkeypatch: pytest.MonkeyPatch) -> None:
    own, other = os.getpid(), os.getpid() + 1
    looks: list[list[tuple[int, int | None]]] = [
        [(own, 300 * MIB), (other, 9000 * MIB)], [(own, 500 * MIB)], [(own, 200 * MIB), (other, None)]
    ]  # fmt: skip
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(looks))
    meter = VramMeter([own])
    for _ in looks:
        meter.look()
    assert meter.peak_mb == 500.0


def test_of_several_processes_the_peak_is_that_of_their_sum_and_each_has_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[list[tuple[int, int | None]]] = [
        [(1, 300 * MIB), (2, 100 * MIB), (3, 9000 * MIB)], [(1, 200 * MIB), (2, 250 * MIB)], [(2, 100 * MIB)]
    ]  # fmt: skip
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(looks))
    meter = VramMeter([1, 2])
    for _ in looks:
        meter.look()
    assert (meter.peak_mb, meter.peak_mb_of(1), meter.peak_mb_of(2)) == (450.0, 300.0, 250.0)


def test_what_cannot_be_measured_is_not_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = fake_nvml([[(os.getpid() + 1, 100 * MIB)]])  # in a container, pids are the host's
    monkeypatch.setitem(sys.modules, "pynvml", unknown)
    meter = VramMeter([os.getpid()])
    meter.look()
    assert meter.peak_mb is None

    def no_driver() -> None:
        raise _NvmlError

    unknown.nvmlInit = no_driver
    meter = VramMeter([os.getpid()])
    meter.look()
    assert meter.peak_mb is None

    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert VramMeter([os.getpid()]).peak_mb is None
