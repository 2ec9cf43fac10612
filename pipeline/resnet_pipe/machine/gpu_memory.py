"""How much memory of the GPUs the processes of a run have used at most, by NVML."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class VramMeter:
    """Looks now and then how much the processes with these ids use.

    Where NVML or its library is missing, or knows processes by other numbers (in some containers), the peak
    stays None: not measured.
    """

    def __init__(self, pids: Iterable[int]) -> None:
        self._peak_bytes = 0
        self._peaks = dict.fromkeys(pids, 0)
        """Of each process, bytes."""
        self._nvml: Any = None
        self._devices: list[Any] = []
        try:
            import pynvml

            pynvml.nvmlInit()
            self._devices = [
                pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())
            ]
        except ImportError:
            return
        except pynvml.NVMLError:  # no driver
            return
        self._nvml = pynvml

    def look(self) -> None:
        """Record the memory currently in use on all GPUs."""
        if self._nvml is None:
            return
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
