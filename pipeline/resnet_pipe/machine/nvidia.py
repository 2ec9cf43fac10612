"""NVIDIA's driver: how many GPUs there are."""

from __future__ import annotations

import ctypes

_DRIVER = "libcuda.so.1"


def visible_gpus() -> int:
    """Return how many GPUs CUDA shows to this process, numbered from 0; 0 without a driver.

    Asks the driver itself, without loading any engine's library: those ask it too, in the end. It heeds
    CUDA_VISIBLE_DEVICES, which NVML does not.
    """
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return 0
    count = ctypes.c_int()
    # cuInit takes no memory of a GPU: there is no context yet.
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value
