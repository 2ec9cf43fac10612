"""How much memory of the GPUs this process has used at most, by NVML."""

from __future__ import annotations

import os
from typing import Any


class VramMeter:
    """Looks now and then.

    Where NVML or its library is missing, or knows processes by other numbers (in some containers), the peak
    stays None: not measured.
    """

    def __init__(self) -> None:
        self._peak_bytes = 0
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
        """Note what is used at this moment, over all GPUs."""
        if self._nvml is None:
            return
        try:
            used = sum(
                process.usedGpuMemory or 0
                for device in self._devices
                for process in self._nvml.nvmlDeviceGetComputeRunningProcesses(device)
                if process.pid == os.getpid()
            )
        except self._nvml.NVMLError:
            return
        self._peak_bytes = max(self._peak_bytes, used)

    @property
    def peak_mb(self) -> float | None:
        """Return the highest use so far in MiB; None if it could not be measured."""
        return round(self._peak_bytes / 2**20, 1) if self._peak_bytes else None
