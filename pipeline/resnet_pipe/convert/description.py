"""One model in full: what its file says, and what its sidecar says about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from resnet_pipe.errors import HomeError, ModelError
from resnet_pipe.head.classify import FEATURES, Classify
from resnet_pipe.head.detect import as_said
from resnet_pipe.head.head import Head
from resnet_pipe.head.output_choice import of_network
from resnet_pipe.model.model import Model, Quantization, Sidecar, find_model, models_dir, open_model
from resnet_pipe.model.network import PERHAPS_BOXES, Network, inspect
from resnet_pipe.model.output import HELD, Output, shape_text
from resnet_pipe.store.names import key_of

Line = tuple[str, str]
"""What it is about, and what is said about it."""
_FIRST_CLASSES = 5


@dataclass(frozen=True)
class Description:
    """A model, what is in its file, and its size in bytes, with that of the files that hold its weights.

    The head has the outputs that a job would use, unless it names others; if that is not clear, `unclear`
    says why, and the head has none.
    """

    model: Model
    network: Network
    file_bytes: int
    head: Head
    unclear: str | None = None

    def lines(self) -> Iterator[Line]:
        """Return it in words."""
        sidecar = self.model.sidecar
        yield "model", self.model.name
        yield "file", str(self.model.path)
        yield "SHA-256", self.model.sha256
        for path in self.network.data:
            yield "weights in", str(path)
        yield "costs", self._costs()
        yield "input", f"{self.network.input_name} {self.network.input_type} {shape_text(self._input_shape)}"
        for output in self.network.outputs:
            yield "output", f"{output.describe()}: {self._held(output) or 'not used, unless a job names it'}"
        if self.unclear is not None:
            yield "outputs", self.unclear
        if sidecar is None:
            yield (
                "preprocess",
                "not known, as there is no sidecar: a job must set it, or this adopts the file",
            )
            yield "adopt it", self._adopt()
        else:
            yield from _of_sidecar(sidecar)

    def to_json(self) -> dict[str, Any]:
        """Return what the file says, and the sidecar as it is."""
        sidecar = self.model.sidecar
        return {
            "name": self.model.name,
            "path": key_of(str(self.model.path)),
            "sha256": self.model.sha256,
            "file_bytes": self.file_bytes,
            "data": [key_of(str(path)) for path in self.network.data],
            "input": {
                "name": self.network.input_name,
                "type": self.network.input_type,
                "shape": list(self._input_shape),
            },
            "outputs": [
                {
                    "name": output.name,
                    "type": output.type,
                    "shape": None if output.shape is None else list(output.shape),
                    "held": self._held(output),
                }
                for output in self.network.outputs
            ],
            "int8": self.network.quantized,
            "sidecar": sidecar.model_dump(mode="json") if sidecar else None,
        }

    @property
    def _input_shape(self) -> tuple[int | None, ...]:
        return (self.network.batch_size, 3, *(self.network.size or (None, None)))

    def _held(self, output: Output) -> str | None:
        """Return what an output holds; None for one that a job would not use."""
        head = self.head
        if head.detector is not None:
            if output.name in head.as_they_come:
                return FEATURES
            its_own = self.network.second.outputs if self.network.second else ()
            return f"boxes ({head.detector.kind})" if output.name in (*head.names, *its_own) else None
        if not isinstance(head, Classify):
            return None
        if output == head.logits:
            return HELD[output.ending]
        return "features" if output == head.features else None

    def _costs(self) -> str:
        sidecar, size = self.model.sidecar, f"{self.file_bytes / 1e6:.1f} MB"
        if sidecar is None:
            return size
        params, macs = (max(0, min(count, 10**20)) for count in (sidecar.params, sidecar.macs))
        return f"{params / 1e6:.1f} M parameters, {macs / 1e9:.2f} GMACs an image, {size}"

    def _adopt(self) -> str:
        """Return the command that makes a model with a sidecar of a file without."""
        command = f"resnet-pipe convert {quote(str(self.model.path))}"
        if not self.network.may_find_objects:
            height, width = self.network.size or (224, 224)
            crop = str(height) if height == width else f"[{height}, {width}]"
            command += f" --preprocess '{{resize: ..., crop: {crop}, mean: [...], std: [...]}}'"
        try:
            its_own = self.model.path.resolve().parent == models_dir().resolve()
        except (HomeError, OSError):
            its_own = False
        return f"{command} --name NAME" if its_own else command


def describe(spec: str) -> Description:
    """Look at the model that a job means by `spec`; ModelError if it is not there, or cannot be used."""
    try:
        model = open_model(find_model(spec, Path()))
        network = inspect(model.path)
        size = sum(path.stat().st_size for path in (model.path, *network.data))
    except OSError as error:
        raise ModelError(f"{error.filename} cannot be read: {error.strerror}") from None
    sidecar = model.sidecar
    if sidecar is not None and sidecar.detection is not None:
        return Description(model, network, size, as_said(sidecar.detection, sidecar.classes, network))
    try:
        return Description(model, network, size, of_network(network))
    except ModelError as error:
        unclear = "; ".join(filter(None, (error.problem, error.remedy)))
        if network.may_find_objects:
            unclear = PERHAPS_BOXES
        return Description(model, network, size, Classify(), unclear)


def _of_sidecar(sidecar: Sidecar) -> Iterator[Line]:
    weights, quantization = sidecar.weights, sidecar.quantization
    yield "preprocess", sidecar.preprocessing.describe()
    yield "classes", _classes(sidecar.classes)
    if sidecar.detection is not None:
        yield "boxes", sidecar.detection.describe()
    revision = f", revision {sidecar.revision}" if sidecar.revision else ""
    yield "source", f"{sidecar.source}, architecture {sidecar.architecture}{revision}"
    yield "licence", sidecar.licence or "not said"
    yield "weights", ", ".join(filter(None, (weights.describe(), weights.taken)))
    if weights.sha256:
        yield "of SHA-256", weights.sha256
    for name, digest in sidecar.files.items():
        yield "read", f"{name}, SHA-256 {digest}"
    for assumption in sidecar.assumed:
        yield "assumed", assumption
    whose = ", of the float32 model" if quantization else ""
    difference = f"{sidecar.max_relative_difference:.1e}"
    yield "compared", f"with {sidecar.compared_with}{whose}: largest relative difference {difference}"
    if sidecar.proved:
        yield "proved", ", ".join(f"{engine} {value:.1e}" for engine, value in sidecar.proved.items()) + whose
    if quantization is not None:
        yield from _of_int8(quantization)
    if sidecar.versions:
        yield "made with", ", ".join(f"{name} {version}" for name, version in sidecar.versions.items())


def _classes(labels: list[str]) -> str:
    if len(labels) <= _FIRST_CLASSES + 1:
        return f"{len(labels)}: {', '.join(labels)}" if labels else "none: it gives features"
    return f"{len(labels)}: {', '.join(labels[:_FIRST_CLASSES])} ... {labels[-1]}"


def _of_int8(figures: Quantization) -> Iterator[Line]:
    skipped = f" ({figures.skipped} could not be read)" if figures.skipped else ""
    yield (
        "int8",
        f"{figures.weight_bits}-bit weights; {figures.method}; calibrated with {figures.calibrated} images",
    )
    classes = "" if figures.top1 is None else f"; top-1 {figures.top1:.1%}, top-5 {figures.top5:.1%}"
    yield (
        "agreement",
        f"with float32, on {figures.held_out} other images{skipped}: cosine similarity"
        f" {figures.cosine_min:.5f} or better, {figures.cosine_mean:.5f} on average; largest relative error"
        f" {figures.max_relative_error:.3f}{classes}",
    )
    yield "made from", f"the float32 model of SHA-256 {figures.source_sha256}"
