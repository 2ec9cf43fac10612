"""CUDA: whether cv2 was built with it, and whether driver, GPUs and libraries fit what it was built for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from resnet_pipe.doctor import cv2_library
from resnet_pipe.doctor import driver as drivers
from resnet_pipe.doctor.cv2_library import Cv2
from resnet_pipe.doctor.driver import Device, Driver, Version, dotted
from resnet_pipe.doctor.examination import Finding
from resnet_pipe.doctor.packages import is_older

_finding = partial(Finding, "cuda")
_BUILD = "in a checkout, run docker/build-opencv-cuda.sh; it ends with the command that installs its wheel"
_REACH_GPU = (
    "make sure nvidia-smi lists the GPU (in a container: docker run --gpus all), or install NVIDIA's driver"
)
_LIBRARIES = {"cudnn": "cuDNN", "cublas": "cuBLAS", "cublasLt": "cuBLASLt"}
_DRIVERS = {11: "450", 12: "525", 13: "580"}
"""Oldest driver for a major version of CUDA (CUDA Compatibility, "Minor Version Compatibility")."""


@dataclass(frozen=True)
class CudaBuild:
    """The toolkit that cv2 was built with, and for which architectures: machine code, and PTX.

    `cudnn` is a version, as in `9.13.0`; None: without it, and so without CUDA in cv2.dnn.
    """

    cuda: Version
    code: tuple[Version, ...]
    ptx: tuple[Version, ...]
    cudnn: str | None

    def runs_on(self, architecture: Version) -> Literal["code", "ptx", "nothing"]:
        """Return what there is for a GPU.

        Machine code runs on architectures of the same major version whose minor version is not lower; PTX is
        compiled by the driver, at the first start, for all that are not lower (CUDA C++ Programming Guide,
        "Binary Compatibility" and "PTX Compatibility").
        """
        if any(major == architecture[0] and minor <= architecture[1] for major, minor in self.code):
            return "code"
        return "ptx" if any(one <= architecture for one in self.ptx) else "nothing"

    def describe(self) -> str:
        """Return the architectures in words."""
        ptx = f", PTX for {dotted(*self.ptx)}" if self.ptx else ""
        return f"code for {dotted(*self.code) or 'no architecture'}{ptx}"


def check() -> Iterable[Finding]:
    """Look at cv2, the driver and the GPUs."""
    return judge(cv2_library.look(), drivers.look(), drivers.gpus_on_the_bus())


def judge(cv2: Cv2, driver: Driver, gpus: int) -> Iterator[Finding]:
    """Yield the findings for what was observed; `gpus` are those that Linux sees, with a driver or not."""
    build = parse(cv2.build)
    if cv2.error:
        text = "cannot tell what cv2 was built for until it can be imported"
        yield _finding("WARN", f"{text}; {_listed(driver) or driver.problem}", "see the cv2 line")
    elif not driver.devices:
        yield _no_device(build, driver, gpus)
    elif build is None:
        text = f"cv2 is built without CUDA, so engine opencv cannot use the GPU; {_listed(driver)}"
        yield _finding("WARN", text, _BUILD)
    else:
        yield from _built_for(build, cv2, driver)
    if build is not None:
        yield from _libraries(build, cv2)


def parse(information: str) -> CudaBuild | None:
    """Return what `cv2.getBuildInformation()` says about CUDA; None: built without."""
    cuda = re.search(r"NVIDIA CUDA:\s*YES \(ver (\d+)\.(\d+)", information)
    if cuda is None:
        return None
    cudnn = re.search(r"cuDNN:\s*YES \(ver ([\d.]+)", information)
    return CudaBuild(
        cuda=(int(cuda[1]), int(cuda[2])),
        code=_architectures(information, "NVIDIA GPU arch"),
        ptx=_architectures(information, "NVIDIA PTX archs"),
        cudnn=cudnn[1] if cudnn else None,
    )


def _architectures(information: str, label: str) -> tuple[Version, ...]:
    """Return the versions after a label, written with the minor version as last digit: 75, 90a or 120."""
    line = re.search(rf"{label}:(.*)", information)
    numbers = re.findall(r"(\d+)\.?(\d)", line[1] if line else "")
    return tuple((int(major), int(minor)) for major, minor in numbers)


def _no_device(build: CudaBuild | None, driver: Driver, gpus: int) -> Finding:
    if gpus:
        text = f"{gpus} NVIDIA {'GPU is' if gpus == 1 else 'GPUs are'} here, but no driver for it"
        hidden = "NO_DEVICE" in driver.problem and "CUDA_VISIBLE_DEVICES" in os.environ
        remedy = "unset CUDA_VISIBLE_DEVICES" if hidden else _REACH_GPU
        return _finding("FAIL" if build else "WARN", f"{text}: {driver.problem}", remedy)
    if build:
        text = f"cv2 is built with CUDA {dotted(build.cuda)}, but runs on the CPU: no GPU is visible"
        return _finding("WARN", f"{text} ({driver.problem})", _REACH_GPU)
    return _finding("OK", "no NVIDIA GPU here, and cv2 is built without CUDA: it runs on the CPU")


def _built_for(build: CudaBuild, cv2: Cv2, driver: Driver) -> Iterator[Finding]:
    cuda = f"cv2 is built with CUDA {dotted(build.cuda)}, {build.describe()}"
    supported = f"the driver supports CUDA {dotted(driver.cuda)}"
    if driver.cuda[0] < build.cuda[0]:
        oldest = _DRIVERS.get(build.cuda[0])
        update = f"update NVIDIA's driver{f' to {oldest} or newer' if oldest else ''}"
        rebuild = f"docker/build-opencv-cuda.sh --cuda {driver.cuda[0]}"
        yield _finding("FAIL", f"{cuda}, but {supported} only", f"{update}, or {rebuild}")
        return
    yield _finding("OK", f"{cuda}; {supported}")
    for index, device in enumerate(driver.devices):
        yield _device(index, device, build, driver)
    if cv2.devices != len(driver.devices):
        text = f"cv2 can use {max(0, cv2.devices)} of {len(driver.devices)} devices"
        yield _finding("FAIL", f"{text}{': ' if cv2.cuda_error else ''}{cv2.cuda_error}", _REACH_GPU)


def _device(index: int, device: Device, build: CudaBuild, driver: Driver) -> Finding:
    text = f"cuda:{index} {device.describe()}"
    remedy = f"docker/build-opencv-cuda.sh --arch {dotted(device.architecture)}"
    match build.runs_on(device.architecture):
        case "code":
            return _finding("OK", f"{text}: cv2 has code for it")
        case "ptx" if build.cuda <= driver.cuda:
            return _finding("WARN", f"{text}: cv2 has only PTX for it: the first start takes minutes", remedy)
        case "ptx":
            problem = "cv2 has only PTX for it, from a newer CUDA than this driver can compile"
            return _finding("FAIL", f"{text}: {problem}", f"update NVIDIA's driver, or {remedy}")
        case _:
            return _finding("FAIL", f"{text}: cv2 has no code for it", remedy)


def _libraries(build: CudaBuild, cv2: Cv2) -> Iterator[Finding]:
    """Compare what the dynamic loader has brought with cv2 with what cv2 was built for."""
    if build.cudnn is None:
        text = "cv2 is built with CUDA, but without cuDNN, so cv2.dnn cannot use CUDA"
        yield _finding("FAIL", text, "docker/build-opencv-cuda.sh builds one that has it")
        return
    for name, (path, version) in sorted(cv2.libraries.items()):
        text = f"{_LIBRARIES[name]} {version}, {path}"
        if name == "cudnn":
            yield _cudnn(text, version, build.cudnn, build.cuda[0])
        else:
            yield _finding("OK", f"{text} (cv2 is built with CUDA {dotted(build.cuda)})")


def _cudnn(text: str, version: str, built: str, cuda: int) -> Finding:
    text = f"{text} (cv2 is built with {built})"
    major, minor = built.split(".")[:2]
    install = f"pip install -U 'nvidia-cudnn-cu{cuda}>={major}.{minor},<{int(major) + 1}'"
    if version.split(".")[0] != major:
        return _finding("FAIL", f"{text}: a different major version", install)
    # One built with an older minor version runs with a newer one; the other way round is left open (NVIDIA).
    if is_older(version, f"{major}.{minor}"):
        return _finding("WARN", f"{text}: older than the one it was built with, which may fail", install)
    return _finding("OK", text)


def _listed(driver: Driver) -> str:
    return "; ".join(f"cuda:{index} {device.describe()}" for index, device in enumerate(driver.devices))
