"""Names the machine, and the versions of the libraries that a Python has.

usage: python -m benchmarks.machine

Prints JSON.
"""

from __future__ import annotations

import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

LIBRARIES = (
    "numpy",
    "opencv-python-headless",
    "pillow",
    "simplejpeg",
    "av",
    "pyarrow",
    "openvino",
    "onnxruntime",
    "onnxruntime-gpu",
    "nvidia-cudnn-cu12",
    "nvidia-cudnn-cu13",
    "torch",
    "torchvision",
    "mlx",
    "transformers",
    "ray",
)
FLAGS = ("amx_bf16", "amx_int8", "avx512_bf16", "avx512_vnni", "avx_vnni", "avx512f", "avx2")
"""Of the processor, as Linux calls them: those that decide how fast a network runs."""
_LOAD = round(os.getloadavg()[0], 2)
"""Of the minute before the benchmark."""


def describe() -> dict[str, Any]:
    """Return processor, cores, how busy they were when the benchmark began, and versions."""
    return {
        "processor": _cpuinfo("model name") or platform.processor(),
        "flags": [flag for flag in FLAGS if flag in _cpuinfo("flags").split()],
        "cores": os.cpu_count(),
        "load_before": _LOAD,
        "python": platform.python_version(),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Return the versions of those libraries that are installed."""
    found = {}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found


def _cpuinfo(field: str) -> str:
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.startswith(field):
            return line.partition(":")[2].strip()
    return ""


if __name__ == "__main__":
    print(json.dumps(describe(), indent=1))
