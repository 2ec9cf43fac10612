"""NVIDIA's driver and its GPUs, independently of what the libraries say.

The names and numbers are those of CUDA's driver API (cuda.h).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path

from resnet_pipe.doctor.answer import answer_of

Version = tuple[int, int]
"""Major and minor, of CUDA or of a GPU's architecture (its compute capability)."""
_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR."""
_NVIDIA = "0x10de"
"""The vendor of a PCI device."""
_DISPLAY = "0x03"
"""How the class of a PCI device begins that is a GPU, with or without a monitor."""


@dataclass(frozen=True)
class Device:
    """A GPU, such as `NVIDIA H100 80GB HBM3`, with bytes of memory."""

    name: str
    architecture: Version
    memory: int

    def describe(self) -> str:
        """Return it in words."""
        return f"{self.name}, architecture {dotted(self.architecture)}, {self.memory / 2**30:.1f} GiB"


@dataclass(frozen=True)
class Driver:
    """The newest CUDA that the driver supports, and the devices this process may use; or the problem."""

    problem: str = ""
    cuda: Version = (0, 0)
    devices: tuple[Device, ...] = ()


@cache
def look() -> Driver:
    """Ask the driver, in a process of its own."""
    return answer_of("resnet_pipe.doctor.driver", lambda problem: Driver(problem=problem))


def serve(connection: Connection) -> None:
    """Send a `Driver`: what that process does."""
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
    device, major, minor, total = ctypes.c_int(), ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    name = ctypes.create_string_buffer(256)
    cuda.cuDeviceGet(ctypes.byref(device), index)
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(total), device)
    cuda.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    return Device(name.value.decode(errors="replace"), (major.value, minor.value), total.value)


def _name(cuda: ctypes.CDLL, code: int) -> str:
    """Return the name of an error, such as CUDA_ERROR_NO_DEVICE."""
    text = ctypes.c_char_p()
    cuda.cuGetErrorName(code, ctypes.byref(text))
    return text.value.decode() if text.value else f"error {code}"


def gpus_on_the_bus(root: Path = Path("/")) -> int:
    """Return how many NVIDIA GPUs Linux sees, with a driver or without, in a container too."""
    on_the_bus = sum(
        _first_line(device / "vendor") == _NVIDIA and _first_line(device / "class").startswith(_DISPLAY)
        for device in root.glob("sys/bus/pci/devices/*")
    )
    return max(on_the_bus, len(list(root.glob("dev/nvidia[0-9]*"))))


def _first_line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def dotted(*versions: Version) -> str:
    """Return versions as people write them."""
    return ", ".join(f"{major}.{minor}" for major, minor in versions)
