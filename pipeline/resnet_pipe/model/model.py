"""A converted model: the ONNX file and, next to it, the sidecar that describes it and its input."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from resnet_pipe.errors import ModelError
from resnet_pipe.machine.home import cache_dir
from resnet_pipe.model.depths import DEPTHS, resnet
from resnet_pipe.model.detection import OF_TORCHVISION, Detection
from resnet_pipe.preprocess.preprocessing import Preprocessing, first_problem
from resnet_pipe.store.digest import file_sha256
from resnet_pipe.store.names import key_of

HUBS = ("hf:", "timm:")
"""How the names of networks on a hub begin."""
INT8_SUFFIX = "-int8"
"""Suffix of an int8 model's name, after that of the model it was made from."""

_PACKAGE = Path(__file__).resolve().parents[1]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


_Count = Annotated[int, Field(ge=0)]
_Difference = Annotated[float, Field(ge=0)]


class Weights(_Section):
    """Where the numbers in the network came from.

    Attributes:
        name: torchvision's name of the weights, the seed, or the checkpoint's file name.
        sha256: of the checkpoint file; null for the others.
        requested: what was asked for; differs from `kind` only for `auto`.
        taken: which of the checkpoint's tensors were used, in words; None for all, names unchanged.
    """

    kind: Literal["imagenet", "coco", "random", "checkpoint"]
    name: str
    sha256: str | None = None
    requested: str
    taken: str | None = None

    def describe(self) -> str:
        """Return one phrase for people, with a warning if the weights are random."""
        if self.kind == "random":
            return f"random weights ({self.name}): good for timing, not for results"
        return f"{self.kind} weights ({self.name})"


class Quantization(_Section):
    """How an int8 model was made, and how int8 changes the results on images not used for calibration.

    The figures are those of `study.agreement.Agreement`, with the float32 model as the reference; those of
    the best classes are None for a network without.

    Attributes:
        source_sha256: of the float32 ONNX file.
        method: the quantiser and its settings, in words.
        calibrated: images used to find the ranges of the activations.
        held_out: images used for the figures.
        skipped: images that could not be read.
        weight_bits: what the weights were rounded to. With 7, sums of products saturate on no processor.
            Sidecars from before there was a choice do not say it, and mean 8.
    """

    source_sha256: str
    method: str
    calibrated: _Count
    held_out: _Count
    skipped: _Count
    weight_bits: Literal[7, 8] = 8
    cosine_min: float
    cosine_mean: float
    max_relative_error: _Difference
    top1: float | None
    top5: float | None


class Sidecar(_Section):
    """The contents of `resnet50.json` next to `resnet50.onnx`.

    Attributes:
        source: the library or the format that the network came from.
        architecture: its name there.
        classes: their labels, in the order of the logits; empty if it gives none.
        detection: how its outputs become boxes; None for a network that finds no objects.
        features: how many it gives for an image; None if it gives none.
        macs: multiply-accumulates of one forward pass of one image at the crop size; where images have many
            sizes, of the largest one. A Faster R-CNN looks at 1,000 proposals in it, its most.
        compared_with: the library, and its version, that said what the results should be.
        max_relative_difference: of the float32 model from that, on real images, the largest of all engines.
        proved: the difference in each engine that was installed and gave the same.
        licence: of the weights, as their publisher names it.
        revision: the commit of the repository it came from.
        files: that were read besides the weights, with their SHA-256.
        assumed: what no file said, in words.
        recipe_sha256: of everything that decided the result, so that converting again can do nothing.
    """

    schema_version: Literal[1] = 1
    name: str
    source: str
    architecture: str
    depth: _Count | None
    weights: Weights
    classes: list[str]
    features: _Count | None
    preprocessing: Preprocessing
    params: _Count
    macs: _Count
    file_bytes: _Count
    onnx_sha256: str
    recipe_sha256: str
    max_relative_difference: _Difference
    versions: dict[str, str]
    compared_with: str = "torch"
    proved: dict[str, _Difference] = {}
    licence: str | None = None
    revision: str | None = None
    files: dict[str, str] = {}
    assumed: tuple[str, ...] = ()
    quantization: Quantization | None = None
    detection: Detection | None = None


@dataclass(frozen=True)
class Model:
    """An ONNX file that is ready to run: its stem in the text form of `key_of`, and its SHA-256, hexadecimal.

    The sidecar is None for a file that resnet-pipe did not make.
    """

    name: str
    path: Path
    sha256: str
    sidecar: Sidecar | None


def checkout() -> Path | None:
    """Return the root of the source checkout this package runs from, or None when it is installed."""
    root = _PACKAGE.parents[1]
    marks = root / "models" / "resnet18.yaml", root / "pyproject.toml"
    return root if all(mark.is_file() for mark in marks) else None


def models_dir() -> Path:
    """Return where converted models live: `models/` of a checkout, or a cache directory.

    HomeError if this user has none.
    """
    return (checkout() or cache_dir()) / "models"


def recipes_dir() -> Path:
    """Return the directory of the recipes that come with the package."""
    root = checkout()
    return root / "models" if root is not None else _PACKAGE / "recipes"


def model_path(spec: str, base: Path) -> Path:
    """Return the ONNX file that a job means by `spec`.

    That is a bare name such as `resnet50`, or that of a network on a hub, looked up in `models_dir()`, which
    may raise, or a path to an .onnx file.
    """
    if spec.startswith(HUBS):
        return models_dir() / f"{hub_name(spec)}.onnx"
    if spec.endswith(".onnx") or "/" in spec:
        return base / spec
    return models_dir() / f"{spec}.onnx"


def hub_name(spec: str) -> str:
    """Return the model's name of a network on a hub: `microsoft--resnet-50` of `hf:microsoft/resnet-50`."""
    kind, _, name = spec.partition(":")
    return (name if kind == "hf" else f"{kind}/{name}").replace("/", "--")


def find_model(spec: str, base: Path) -> Path:
    """Return the ONNX file that a job means by `spec`, as `model_path` does; ModelError if there is none."""
    path = model_path(spec, base)
    if not path.is_file():
        raise _missing(path, spec if spec.startswith(HUBS) else path.stem, base / spec)
    return path


def how_to_make(name: str) -> str | None:
    """Return the command that makes a model, if there is one.

    That is so for `resnet50`, `resnet50-int8`, and what is on a hub, such as `hf:microsoft/resnet-50`.
    """
    source = name.removesuffix(INT8_SUFFIX)
    if source in OF_TORCHVISION and source == name:
        return f"resnet-pipe convert {source}"
    if not source.startswith(HUBS) and source not in set(map(resnet, DEPTHS)):
        return None
    return (
        f"resnet-pipe convert {quote(source)}{' --quantize --calibration IMAGES' if source != name else ''}"
    )


def convert_first(directory: Path) -> str:
    """Return what to do with a directory that a library has saved, where a model is wanted."""
    return f"convert it first, then give the model's name: resnet-pipe convert {quote(str(directory))}"


def _missing(path: Path, name: str, given: Path) -> ModelError:
    """Return the error about a model that is not there; `given` is the path that may be meant."""
    command = how_to_make(name)
    if command is None and given.is_dir():
        return ModelError(f"{given} is a directory, not an .onnx file", convert_first(given))
    return ModelError(
        f"model {path} does not exist",
        command or "`resnet-pipe models` lists those that are there; or give the path of an .onnx file",
    )


def open_model(path: Path) -> Model:
    """Read a model's sidecar and check that both files belong together.

    Raises:
        ModelError: the file is missing, or the sidecar is not of this file or not readable.
    """
    if not path.is_file():
        raise _missing(path, path.stem, path)
    name, digest = key_of(path.stem), file_sha256(path)
    sidecar_path = path.with_suffix(".json")
    if not os.path.lexists(sidecar_path):  # a link that leads nowhere is one that cannot be read
        return Model(name, path, digest, None)
    sidecar = read_sidecar(sidecar_path)
    if sidecar.onnx_sha256 != digest:
        raise ModelError(
            f"{sidecar_path} does not belong to {path}: the SHA-256 differs",
            f"convert it again, or remove {sidecar_path} and set `preprocess` in the job",
            "models",
        )
    return Model(name, path, digest, sidecar)


def read_sidecar(path: Path) -> Sidecar:
    """Read a sidecar; ModelError if it is not readable, or not of a known schema version."""
    if path.exists() and not path.is_file():  # such as a pipe, on which everybody would wait
        raise ModelError(f"{path} is not a file", "remove it, or convert the model again", "models")
    try:
        return Sidecar.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read: {error.strerror}", "remove it, or convert the model again", "models"
        ) from None
    except ValidationError as error:
        raise ModelError(
            f"{path}: not a valid sidecar: {first_problem(error)}",
            "convert the model again",
            "models",
        ) from None
