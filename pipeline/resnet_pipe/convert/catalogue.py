"""The ResNets there are, what each one costs, and which are converted."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from resnet_pipe.errors import HomeError, ModelError
from resnet_pipe.head.output_choice import of_network
from resnet_pipe.model.model import INT8_SUFFIX, how_to_make, models_dir, read_sidecar
from resnet_pipe.model.network import inspect
from resnet_pipe.store.names import key_of

_FLOAT_BYTES = 4
_COSTS = {
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet34": (21_797_672, 3_663_761_408),
    "resnet50": (25_557_032, 4_089_184_256),
    "resnet101": (44_549_160, 7_801_405_440),
    "resnet152": (60_192_808, 11_513_626_624),
}
"""Parameters with 1000 classes, and multiply-accumulates for one image of 224 x 224."""


@dataclass(frozen=True)
class Entry:
    """One ResNet, or its int8 model: its costs with 1000 classes and 224 x 224 pixels, and its state.

    Its weights have four bytes for each parameter, or one in an int8 model.
    """

    name: str
    params: int
    macs: int
    weight_bytes: int
    status: str


def entries() -> list[Entry]:
    """Return the five depths, the shallowest first, each followed by its int8 model if there is one."""
    result = []
    for source, (params, macs) in _COSTS.items():
        for name, width in ((source, _FLOAT_BYTES), (source + INT8_SUFFIX, 1)):
            path = _find(name)
            if name == source or path is not None:
                result.append(Entry(name, params, macs, width * params, _status(name, path)))
    return result


def others() -> list[tuple[str, str]]:
    """Return the other models in the directory: their names, and what their outputs hold or what is wrong."""
    known = {name + suffix for name in _COSTS for suffix in ("", INT8_SUFFIX)}
    try:
        paths = sorted(path for path in models_dir().glob("*.onnx") if path.stem not in known)
    except (HomeError, OSError):
        return []
    return [(key_of(path.stem), _outputs(path)) for path in paths]


def _outputs(path: Path) -> str:
    try:
        return of_network(inspect(path)).describe()
    except ModelError as error:
        return error.problem


def _find(name: str) -> Path | None:
    """Return the ONNX file; None if there is none, or none that this user may see."""
    try:
        path = models_dir() / f"{name}.onnx"
    except HomeError:
        return None
    return path if os.path.isfile(path) else None  # noqa: PTH113 - Path.is_file raises what is forbidden


def _status(name: str, path: Path | None) -> str:
    if path is None:
        return f"no: {how_to_make(name)}"
    try:
        sidecar = read_sidecar(path.with_suffix(".json"))
    except ModelError as error:
        return f"without a usable sidecar: {error.problem}"
    if sidecar.quantization is None:
        return f"yes, {sidecar.weights.describe()}"
    return f"yes, cosine similarity {sidecar.quantization.cosine_min:.4f}, {sidecar.weights.describe()}"
