"""NVIDIA's driver and its GPUs, independently of what the libraries say."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from resnet_pipe.doctor.answer import NoAnswerError, answer_of
from resnet_pipe.doctor.build import Version, dotted

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
    try:
        driver: Driver = answer_of("resnet_pipe.doctor.driver_process")
    except NoAnswerError as error:
        return Driver(problem=str(error))
    return driver


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
