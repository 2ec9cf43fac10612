"""The ResNets there are, what each one costs, and which are converted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from resnet_pipe.convert import architecture
from resnet_pipe.convert.recipe import ARCHITECTURES
from resnet_pipe.errors import ModelError
from resnet_pipe.model import models_dir, read_sidecar

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Entry:
    """One ResNet.

    Attributes:
        name: as in recipes and jobs.
        params: with 1000 classes.
        macs: multiply-accumulates for one image of 224 x 224.
        fp32_bytes: of its parameters.
        path: where its ONNX file is or would be.
        status: whether it is converted, and with which weights, in words.
    """

    name: str
    params: int
    macs: int
    fp32_bytes: int
    path: Path
    status: str


def entries() -> list[Entry]:
    """Return the five depths, the shallowest first."""
    result = []
    for name, depth in ARCHITECTURES.items():
        size = architecture.size(depth)
        path = models_dir() / f"{name}.onnx"
        result.append(Entry(name, size.params, size.macs, _FLOAT_BYTES * size.params, path, _status(path)))
    return result


def _status(path: Path) -> str:
    if not path.is_file():
        return f"no: resnet-pipe convert {path.stem}"
    try:
        return f"yes, {read_sidecar(path.with_suffix('.json')).weights.describe()}"
    except ModelError as error:
        return f"without a usable sidecar: {error.problem}"
