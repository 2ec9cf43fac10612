"""The machine and the libraries: as shown in reports, and as they determine the speed of engines."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from resnet_pipe import __version__
from resnet_pipe.machine import processor
from resnet_pipe.machine.limits import available_bytes, available_cores

_LIBRARIES = ("numpy", "av", "pyarrow", "pillow", "simplejpeg")


def describe(engines: tuple[str, ...]) -> dict[str, str]:
    """Return processor, cores, memory, system and versions, each as one phrase, and those of engines."""
    libraries = versions(_LIBRARIES + engines).items()
    return {
        "processor": processor.info().get("model name") or platform.processor() or platform.machine(),
        "cores": str(available_cores()),
        "memory": f"{available_bytes() / 2**30:.1f} GiB",
        "system": platform.platform(),
        "python": platform.python_version(),
        "resnet_pipe": __version__,
        "libraries": ", ".join(f"{name} {version}" for name, version in libraries),
    }


def identity(engines: tuple[str, ...]) -> dict[str, Any]:
    """Return, as JSON and in milliseconds, what determines the speed of engines of these distributions."""
    return {
        "cpu": _cpu(),
        "cores": available_cores(),
        "gpus": _gpus(),
        "visible_gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "versions": {"resnet-pipe": __version__, **versions(engines)},
    }


def _cpu() -> str:
    """Return the processor's name, and a digest of its features: a virtual machine may hide AMX."""
    values = processor.info()
    name = values.get("model name") or f"{platform.machine()} {values.get('CPU part', '')}"
    able = " ".join(sorted(processor.features()))
    return f"{name}, features {hashlib.sha256(able.encode()).hexdigest()[:12]}"


def _gpus() -> list[str]:
    """Return the names of the NVIDIA GPUs, as reported by their driver."""
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    models = (re.search(r"^Model:\s*(.*)$", file.read_text(), re.MULTILINE) for file in files)
    return [model[1] for model in models if model]


def versions(libraries: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of those of some distributions that are installed."""
    found = {}
    for name in libraries:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
