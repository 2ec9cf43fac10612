"""The models there are, torchvision's networks that can be converted, and what each one costs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resnet_pipe.errors import HomeError, ModelError
from resnet_pipe.head.classify import FEATURES, LOGITS
from resnet_pipe.head.output_choice import of_network
from resnet_pipe.model.detection import OF_TORCHVISION
from resnet_pipe.model.model import INT8_SUFFIX, Sidecar, how_to_make, models_dir, read_sidecar
from resnet_pipe.model.network import PERHAPS_BOXES, inspect
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
    """A model, or one of torchvision's networks that is not converted yet, which may also find objects.

    Attributes:
        name: of its file without `.onnx`, in the text form of `key_of`.
        path: None if it is not converted.
        params: of a ResNet that is not converted, with 1000 classes; else None without a sidecar.
        macs: for one image, likewise, of 224 x 224 pixels.
        file_bytes: of the file; of a ResNet that is not converted, of its weights; None if that is not known.
        sidecar: None if there is none that can be used.
        outputs: `logits` and `features`, or one of them -> how many values for an image; None if that is not
            known before a run.
        held: what the outputs are, in words, for a model without a sidecar, or one that finds objects.
        problem: what is wrong with the sidecar, or without one, with the file.
    """

    name: str
    path: Path | None
    params: int | None
    macs: int | None
    file_bytes: int | None
    sidecar: Sidecar | None = None
    outputs: dict[str, int | None] = field(default_factory=dict)
    held: str | None = None
    problem: str | None = None

    @property
    def source(self) -> str | None:
        """Where the network came from, if the sidecar says it."""
        return self.sidecar.source if self.sidecar else None

    @property
    def command(self) -> str | None:
        """What makes it, if it is not converted."""
        return None if self.path else how_to_make(self.name)

    @property
    def weights(self) -> str | None:
        """A word on the weights, if the sidecar says it."""
        if self.sidecar is None:
            return None
        quantization = self.sidecar.quantization
        return f"int8 {quantization.cosine_min:.4f}" if quantization else self.sidecar.weights.kind

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        sidecar = self.sidecar
        quantization = sidecar.quantization if sidecar else None
        return {
            "name": self.name,
            "path": key_of(str(self.path)) if self.path else None,
            "source": self.source,
            "architecture": sidecar.architecture if sidecar else None,
            "params": self.params,
            "macs": self.macs,
            "file_bytes": self.file_bytes,
            "outputs": self.outputs,
            "held": self.held,
            "detection": sidecar.detection.model_dump() if sidecar and sidecar.detection else None,
            "weights": sidecar.weights.kind if sidecar else None,
            "weights_name": sidecar.weights.name if sidecar else None,
            "int8_cosine_min": quantization.cosine_min if quantization else None,
            "converted": self.path is not None,
            "command": self.command,
            "problem": self.problem,
        }


def entries() -> list[Entry]:
    """Return the five depths, the shallowest first, each before its int8 model, then all other models.

    Last are torchvision's networks that find objects and are not converted.
    """
    found = {path.stem: path for path in _files()}
    pairs = ((name, name + INT8_SUFFIX) for name in _COSTS)
    names = [name for pair in pairs for name in pair if name in _COSTS or name in found]
    names += sorted(found.keys() - set(names))
    names += [name for name in OF_TORCHVISION if name not in found]
    return [_converted(found[name]) if name in found else _not_converted(name) for name in names]


def _files() -> list[Path]:
    try:
        return list(models_dir().glob("*.onnx"))
    except (HomeError, OSError):
        return []


def _not_converted(name: str) -> Entry:
    if name not in _COSTS:  # what it costs depends on its classes and on the images
        return Entry(name, None, None, None, None)
    params, macs = _COSTS[name]
    return Entry(name, None, params, macs, _FLOAT_BYTES * params)


def _converted(path: Path) -> Entry:
    name, beside = key_of(path.stem), path.with_suffix(".json")
    try:
        size = path.stat().st_size
    except OSError:
        size = None
    try:
        if os.path.lexists(beside):
            return _described(name, path, size, read_sidecar(beside))
        network = inspect(path)
        if network.may_find_objects:
            return Entry(name, path, None, None, size, held=PERHAPS_BOXES)
        head = of_network(network)
    except ModelError as error:
        return Entry(name, path, None, None, size, problem=error.problem)
    roles = {LOGITS: head.logits, FEATURES: head.features}
    widths = {role: output.width for role, output in roles.items() if output is not None}
    return Entry(name, path, None, None, size, outputs=widths, held=head.describe())


def _described(name: str, path: Path, size: int | None, sidecar: Sidecar) -> Entry:
    outputs: dict[str, int | None]
    if sidecar.detection is not None:
        held = f"boxes of {len(sidecar.classes)} classes: {sidecar.detection.describe()}"
        outputs = {} if sidecar.features is None else {FEATURES: sidecar.features}
        return Entry(name, path, sidecar.params, sidecar.macs, size, sidecar, outputs, held)
    outputs = {LOGITS: len(sidecar.classes)} if sidecar.classes else {}
    if sidecar.features is not None:
        outputs[FEATURES] = sidecar.features
    return Entry(name, path, sidecar.params, sidecar.macs, size, sidecar, outputs)
