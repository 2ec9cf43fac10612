"""NVIDIA's GPUs: how many there are, and how much of their memory processes use."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from contextlib import suppress
from typing import Any


def visible_gpus() -> int:
    """Return how many GPUs CUDA shows to this process, numbered from 0; 0 without a driver.

    Asks the driver itself, without loading any engine's library: those ask it too, in the end. It heeds
    CUDA_VISIBLE_DEVICES, which NVML does not.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    # cuInit takes no memory of a GPU: there is no context yet.
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


class VramMeter:
    """Looks now and then how much memory of all GPUs the processes with these ids use, by NVML.

    Where NVML or its library is missing, or knows processes by other numbers (in some containers), the peak
    stays None: not measured.
    """

    def __init__(self, pids: Iterable[int]) -> None:
        self._peak_bytes = 0
        self._peaks = dict.fromkeys(pids, 0)
        """Of each process, bytes."""
        self._nvml: Any = None
        self._devices: list[Any] = []
        with suppress(ImportError):
            import pynvml

            with suppress(pynvml.NVMLError):  # no driver
                pynvml.nvmlInit()
                count = pynvml.nvmlDeviceGetCount()
                self._devices = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
                self._nvml = pynvml

    def look(self) -> None:
        """Record the memory currently in use on all GPUs."""
        used = dict.fromkeys(self._peaks, 0)
        try:
            for device in self._devices:
                for process in self._nvml.nvmlDeviceGetComputeRunningProcesses(device):
                    if process.pid in used:
                        used[process.pid] += process.usedGpuMemory or 0
        except self._nvml.NVMLError:
            return
        self._peak_bytes = max(self._peak_bytes, sum(used.values()))
        self._peaks = {pid: max(peak, used[pid]) for pid, peak in self._peaks.items()}

    @property
    def peak_mb(self) -> float | None:
        """Return the highest use so far in MiB; None if it could not be measured."""
        return _mb(self._peak_bytes)

    def peak_mb_of(self, pid: int) -> float | None:
        """Return the highest use so far of one of the processes."""
        return _mb(self._peaks[pid])


def _mb(used: int) -> float | None:
    return round(used / 2**20, 1) if used else None
