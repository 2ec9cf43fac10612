"""What decides how fast engines are on a machine, found in milliseconds and without loading any of them."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from resnet_pipe import __version__
from resnet_pipe.run.cores import available_cores

_LIBRARIES = (
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python-headless",
    "opencv-contrib-python",
    "openvino",
    "onnxruntime",
    "onnxruntime-gpu",
    "torch",
    "mlx",
)
"""Distributions that engines come in."""


def describe() -> dict[str, Any]:
    """Return processor, cores, GPUs and the versions of the engines' libraries, as JSON has them."""
    return {
        "cpu": _cpu(),
        "cores": available_cores(),
        "gpus": _gpus(Path("/proc/driver/nvidia/gpus")),
        "visible_gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "versions": _versions(),
    }


def _cpu() -> str:
    """Return the name of the processor, and a digest of what it can do: a virtual machine may hide AMX."""
    try:
        with Path("/proc/cpuinfo").open() as file:
            text = file.read(1 << 16).partition("\n\n")[0]
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    values = dict(re.findall(r"^([^\t:]+?)\s*: (.*)$", text, re.MULTILINE))
    name = values.get("model name") or f"{platform.machine()} {values.get('CPU part', '')}"
    able = " ".join(sorted((values.get("flags") or values.get("Features", "")).split()))
    return f"{name}, features {hashlib.sha256(able.encode()).hexdigest()[:12]}"


def _gpus(folder: Path) -> list[str]:
    """Return the names of the NVIDIA GPUs, as their driver tells them."""
    files = sorted(folder.glob("*/information"))
    models = (re.search(r"^Model:\s*(.*)$", file.read_text(), re.MULTILINE) for file in files)
    return [model[1] for model in models if model]


def _versions() -> dict[str, str]:
    found = {"resnet-pipe": __version__}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
