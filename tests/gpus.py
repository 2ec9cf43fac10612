"""The NVIDIA GPUs there are, as their driver tells, without any library that uses them."""

from __future__ import annotations

import ctypes


def count() -> int:
    """Return how many GPUs CUDA can use; 0 without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    number = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(number)) != 0:
        return 0
    return number.value
