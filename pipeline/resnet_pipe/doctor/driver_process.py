"""The process that asks NVIDIA's driver for the doctor what there is.

The names and numbers are those of CUDA's driver API (cuda.h).
"""

from __future__ import annotations

import ctypes
from multiprocessing.connection import Connection

from resnet_pipe.doctor.driver import Device, Driver

_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR."""


def serve(connection: Connection) -> None:
    """Send a `Driver`."""
    connection.send(_look())


def _look() -> Driver:
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return Driver(problem=str(error))
    if code := cuda.cuInit(0):
        return Driver(problem=f"the driver returned {_name(cuda, code)}")
    version, count = ctypes.c_int(), ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(version))
    cuda.cuDeviceGetCount(ctypes.byref(count))
    devices = tuple(_device(cuda, index) for index in range(count.value))
    return Driver(cuda=(version.value // 1000, version.value % 1000 // 10), devices=devices)


def _device(cuda: ctypes.CDLL, index: int) -> Device:
    device, value, total = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    name = ctypes.create_string_buffer(256)
    cuda.cuDeviceGet(ctypes.byref(device), index)
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(total), device)
    cuda.cuDeviceGetAttribute(ctypes.byref(value), _MAJOR, device)
    major = value.value
    cuda.cuDeviceGetAttribute(ctypes.byref(value), _MINOR, device)
    return Device(name.value.decode(errors="replace"), (major, value.value), total.value)


def _name(cuda: ctypes.CDLL, code: int) -> str:
    """Return the name of an error, such as CUDA_ERROR_NO_DEVICE."""
    text = ctypes.c_char_p()
    cuda.cuGetErrorName(code, ctypes.byref(text))
    return text.value.decode() if text.value else f"error {code}"
