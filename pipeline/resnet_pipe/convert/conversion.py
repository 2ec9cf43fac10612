"""Convert a recipe: build the network, export it, compare, and write the ONNX file and its sidecar."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.convert.recipe import NAMED_WEIGHTS, OF_A_CHECKPOINT, Recipe, find, load
from resnet_pipe.errors import MissingExtraError, ModelError
from resnet_pipe.infer.batches import Normalizer
from resnet_pipe.job.location import located
from resnet_pipe.machine import cv2_import
from resnet_pipe.model.model import Sidecar, models_dir, read_sidecar
from resnet_pipe.preprocess.preprocessing import Preprocessing
from resnet_pipe.store import atomic
from resnet_pipe.store.digest import file_sha256

if TYPE_CHECKING:
    import torch
    from torch import nn

TOLERANCE = 1e-4
"""Largest relative difference that float32 arithmetic in another order explains."""


@dataclass(frozen=True)
class Conversion:
    """The ONNX file and what its sidecar says; not changed if both were there and would be the same again."""

    path: Path
    sidecar: Sidecar
    changed: bool


def convert(
    recipe: str,
    *,
    weights: str | None = None,
    out: Path | None = None,
    say: Callable[[str], None] = lambda _text: None,
) -> Conversion:
    """Convert a ResNet to ONNX.

    The recipe is a file, or the bare name of one that comes with the package, such as `resnet50`. Weights are
    imagenet, random, auto, or a checkpoint file; None for the recipe's own. With a checkpoint, a recipe that
    comes with the package has the preprocessing `OF_A_CHECKPOINT`. The files go into the directory `out`;
    None for `models_dir()`.

    Raises:
        DocumentError: the recipe is wrong.
        MissingExtraError: the extra `convert` is not installed.
        ModelError: the weights are not available, or the result is not the same network. No file is left.
    """
    recipe_path = find(recipe)
    chosen = load(recipe_path)
    spec = weights if weights is not None else chosen.weights
    if weights is None and spec not in NAMED_WEIGHTS:  # a checkpoint beside the recipe
        spec = str(located(spec, recipe_path.parent))
    if recipe_path != Path(recipe) and spec not in NAMED_WEIGHTS:  # its preprocessing is for other weights
        chosen = chosen.model_copy(update={"preprocess": OF_A_CHECKPOINT})
    target = (out or models_dir()) / f"{recipe_path.stem}.onnx"
    versions = versions_of("torch", "torchvision", "onnx", extra="convert", purpose="Converting a model")
    digest = _digest(chosen, spec, versions)
    before = unchanged(target, digest)
    if before is not None:
        return Conversion(target, before, changed=False)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sidecar = _convert(chosen, spec, target, digest, versions, say)
    except OSError as error:
        raise ModelError(
            f"cannot write {target}: {error.strerror or error}",
            "make it writable or free some space, or choose another place with --out or XDG_CACHE_HOME",
        ) from error
    return Conversion(target, sidecar, changed=True)


def _convert(
    recipe: Recipe, spec: str, target: Path, digest: str, versions: dict[str, str], say: Callable[[str], None]
) -> Sidecar:
    from resnet_pipe.convert.sources import torchvision

    say(f"converting {recipe.architecture} with weights {spec} ...")
    photos = photographs(recipe.preprocess)
    source = torchvision.build(recipe, spec, photos, say)
    from resnet_pipe.convert import graph  # which needs the libraries that `build` has found

    proto = graph.export(source.network, recipe.preprocess.size)

    def make(temporary: Path) -> Sidecar:
        temporary.write_bytes(proto.SerializeToString(deterministic=True))
        return Sidecar(
            name=target.stem,
            source=recipe.source,
            architecture=recipe.architecture,
            depth=recipe.depth,
            weights=source.weights,
            classes=source.classes,
            features=source.network.get_submodule("fc").in_features,
            preprocessing=recipe.preprocess,
            params=sum(parameter.numel() for parameter in source.network.parameters()),
            macs=graph.multiply_accumulates(proto),
            file_bytes=temporary.stat().st_size,
            onnx_sha256=file_sha256(temporary),
            recipe_sha256=digest,
            max_relative_difference=largest_difference(temporary, source.network, photos),
            versions=versions,
        )

    sidecar = write(target, make)
    agreement = f"cv2.dnn agrees with torch on {len(photos)} photographs"
    say(f"{agreement}: largest relative difference {sidecar.max_relative_difference:.1e}")
    return sidecar


_PHOTOGRAPHS = (
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "ihc.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "retina.jpg",
    "rocket.jpg",
)
"""Real photographs, for calibration and comparison: those that come with scikit-image."""


def photographs(preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Return ten photographs as a network's input: float32, shape (10, 3, H, W), normalised."""
    try:
        import skimage
    except ImportError:
        raise MissingExtraError("scikit-image", "convert", "Converting a model") from None
    from PIL import Image

    geometry = preprocessing.geometry()
    batch = np.empty((len(_PHOTOGRAPHS), *geometry.size, 3), np.uint8)
    for name, out in zip(_PHOTOGRAPHS, batch, strict=True):
        with Image.open(Path(skimage.__file__).parent / "data" / name) as image:
            geometry.apply(np.asarray(image.convert("RGB")), out)
    return Normalizer(preprocessing.network_input, len(_PHOTOGRAPHS)).fill(batch)


def largest_difference(path: Path, network: nn.Module, photos: NDArray[np.float32]) -> float:
    """Return the largest relative difference between an ONNX file in cv2.dnn and its source network.

    For each output, `logits` and `features`: the largest absolute difference, divided by the largest absolute
    value of the source, a torchvision ResNet in eval mode. The file is run with one photograph and with all
    of them: float32, shape (n, 3, H, W), normalised.

    Raises:
        ModelError: cv2.dnn cannot run the file, or the difference is larger than `TOLERANCE`.
        UsageError: cv2 cannot be imported.
    """
    cv2_import.require()
    import cv2

    expected = _expected(network, photos)
    worst = 0.0
    try:
        net = cv2.dnn.readNetFromONNX(str(path))
        names = list(net.getUnconnectedOutLayersNames())
        for count in (1, len(photos)):
            net.setInput(photos[:count])
            outputs = dict(zip(names, net.forward(names), strict=True))
            for name, reference in expected.items():
                difference = np.abs(outputs[name] - reference[:count]).max() / np.abs(reference).max()
                worst = max(worst, float(difference))
    except (cv2.error, KeyError) as error:
        raise ModelError(f"cv2.dnn {cv2.__version__} cannot run the converted model: {error}") from None
    if not worst <= TOLERANCE:  # also if it is not a number
        raise ModelError(
            f"the converted model differs from its source network by {worst:.1e} (at most {TOLERANCE:.0e})",
            "no file was written; report this with the versions of torch and cv2",
        )
    return worst


def _expected(network: nn.Module, photos: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    import torch

    features: list[torch.Tensor] = []
    hook = network.get_submodule("avgpool").register_forward_hook(
        lambda _module, _inputs, output: features.append(torch.flatten(output, 1))
    )
    with hook, torch.inference_mode():
        logits = network(torch.from_numpy(photos))
    return {"logits": logits.numpy(), "features": features[0].numpy()}


def write(target: Path, make: Callable[[Path], Sidecar]) -> Sidecar:
    """Write an ONNX file, the target, and its sidecar in the place of older ones.

    `make` writes it to the path that it is given, and returns its sidecar. If it raises, nothing changes.
    """
    beside, process = target.with_suffix(".json"), str(os.getpid())
    with atomic.replacing(target, process) as temporary:
        sidecar = make(temporary)
        # The sidecar goes first when it is stale, so that no crash leaves it beside another model's file.
        beside.unlink(missing_ok=True)
    atomic.write_bytes(beside, sidecar.model_dump_json(indent=1).encode(), process)
    return sidecar


def versions_of(*libraries: str, extra: str, purpose: str) -> dict[str, str]:
    """Return the installed versions of libraries; a `MissingExtraError` names one that is not installed."""
    try:
        return {library: metadata.version(library) for library in libraries}
    except metadata.PackageNotFoundError as error:
        raise MissingExtraError(str(error.name), extra, purpose) from None


def _digest(recipe: Recipe, spec: str, versions: dict[str, str]) -> str:
    """Return a hash of all that decides the result, without building anything."""
    checkpoint = file_sha256(Path(spec)) if Path(spec).is_file() else None
    told = {**recipe.model_dump(mode="json"), "preprocess": recipe.preprocess.told()}
    parts = [told, spec if checkpoint is None else checkpoint, versions]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def unchanged(target: Path, digest: str) -> Sidecar | None:
    """Return the sidecar of an ONNX file that a conversion with this digest would give again, or None."""
    path = target.with_suffix(".json")
    if target.is_file() and path.is_file():
        with suppress(ModelError):
            sidecar = read_sidecar(path)
            if sidecar.recipe_sha256 == digest and sidecar.onnx_sha256 == file_sha256(target):
                return sidecar
    return None
