"""What cv2 says about how it was built with CUDA, and which GPUs that is for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Version = tuple[int, int]
"""Major and minor, of CUDA or of a GPU's architecture (its compute capability)."""


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


def dotted(*versions: Version) -> str:
    """Return versions as people write them."""
    return ", ".join(f"{major}.{minor}" for major, minor in versions)
