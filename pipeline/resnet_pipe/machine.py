"""The machine and the libraries, as results and reports name them."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

from resnet_pipe import __version__

_LIBRARIES = ("numpy", "opencv-python-headless", "opencv-python", "av", "pyarrow", "pillow", "simplejpeg")


def describe() -> dict[str, str]:
    """Return processor, cores, memory, system and versions, each as one phrase."""
    return {
        "processor": processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{_memory_bytes() / 2**30:.0f} GiB",
        "system": platform.platform(),
        "python": platform.python_version(),
        "resnet_pipe": __version__,
        "libraries": ", ".join(f"{name} {version}" for name, version in _versions()),
    }


def processor() -> str:
    """Return the name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _versions() -> list[tuple[str, str]]:
    found = []
    for library in _LIBRARIES:
        try:
            found.append((library, metadata.version(library)))
        except metadata.PackageNotFoundError:
            continue  # of the two opencv distributions, one is there
    return found
