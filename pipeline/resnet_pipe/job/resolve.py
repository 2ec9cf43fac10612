"""A job and its model together: what will be done, and the fingerprint of everything that affects results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from resnet_pipe.head import output_choice
from resnet_pipe.head.classify import Classify
from resnet_pipe.head.head import Head
from resnet_pipe.head.rows import carried_field
from resnet_pipe.infer import engine as engines
from resnet_pipe.infer.engine import DEFAULT, ENGINES, Precision
from resnet_pipe.infer.section import precision_of
from resnet_pipe.job import detection, outputs
from resnet_pipe.job.document import Document, found_in
from resnet_pipe.job.fingerprint import Fingerprint, canonical
from resnet_pipe.job.job import Job
from resnet_pipe.job.syntax import Place
from resnet_pipe.model import network as onnx_network
from resnet_pipe.model.model import Model, open_model
from resnet_pipe.model.network import Network
from resnet_pipe.preprocess.geometry import Geometry, sides
from resnet_pipe.preprocess.network_input import NetworkInput
from resnet_pipe.preprocess.preprocessing import Preprocessing, conflict, told
from resnet_pipe.preprocess.resizing import FAST
from resnet_pipe.store.digest import file_sha256
from resnet_pipe.writer.writer import WriterSection

if TYPE_CHECKING:
    import pyarrow as pa


def _known(engine: str) -> str:
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}")
    return engine


class Choice(BaseModel):
    """The engine and the precision of a job that says `engine: auto`, and how they were chosen.

    Attributes:
        ratio: of its items per second to those of the default engine; None if that was not measured.
        reason: why nothing was tried; empty otherwise.
        reference: what the engines were compared with.
        engines: what came of each, as in the JSON of `verify`.
        chosen_at: UTC, ISO 8601.
        circumstances: in which the choice holds: the machine, the model, versions, what the job asks for.
        origin: `new`, `to be remembered` (new, and in the file now) or `remembered` (from the file).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: Annotated[str, AfterValidator(_known)]
    precision: Precision
    ratio: float | None = None
    reason: str = ""
    reference: str = ""
    items: int = 0
    engines: list[dict[str, Any]] = []
    chosen_at: str = ""
    circumstances: dict[str, Any] = {}
    origin: Annotated[Literal["new", "to be remembered", "remembered"], Field(exclude=True)] = "new"

    @property
    def note(self) -> str:
        """Return it in words, for the terminal and run.json."""
        if self.reason:
            return f"engine auto chose {self.engine} {self.precision}: {self.reason}"
        if self.engine == DEFAULT:
            why = "no other is faster"
        elif self.ratio is None:
            why = f"{DEFAULT} cannot be compared"
        else:
            why = f"{self.ratio:.1f} times as fast as {DEFAULT}"
        ends = {"to be remembered": "; saved for later runs", "remembered": f"; saved on {self.chosen_at}"}
        return f"engine auto chose {self.engine} {self.precision}: {why}{ends.get(self.origin, '')}"


@dataclass(frozen=True)
class Resolved:
    """A job with every choice made.

    Attributes:
        head: which of the network's outputs the job uses, and what becomes of them.
        preprocessing: the sidecar's, with the job's overrides.
        geometry: the part of the preprocessing that the workers do.
        precision: that the network computes in.
        choice: how the engine was chosen; None if the job names it.
    """

    job: Job
    model: Model
    network: Network
    head: Head
    preprocessing: Preprocessing
    geometry: Geometry
    precision: str
    fingerprint: Fingerprint
    choice: Choice | None = None

    @property
    def metadata(self) -> dict[str, str]:
        """Return what the shards say about how they were made."""
        known = self.model.sidecar
        return {
            "model": self.model.name,
            "model_sha256": self.model.sha256,
            "weights": known.weights.describe() if known else "weights unknown: the model has no sidecar",
            "outputs": json.dumps(outputs.outputs_of(self.job, self.head)),
            "preprocessing": json.dumps({**self.preprocessing.told(), "mode": self.job.preprocess.mode}),
            "engine": self.job.infer.engine,
            "precision": self.precision,
        }

    @property
    def digest(self) -> str:
        """Return the hash of the fingerprint, hexadecimal."""
        return self.fingerprint.digest

    @property
    def network_input(self) -> NetworkInput:
        """Return the part of the preprocessing that the engine does."""
        return self.preprocessing.network_input_in(self.job.preprocess.mode)

    @property
    def batch_size(self) -> int:
        """Return how many items one forward pass takes, even if the job leaves that to the engine."""
        infer = self.job.infer
        if infer.batch_size == "auto":
            fastest = engines.batch_size(infer.engine, infer.first_device)
            return self.network.batch_size or engines.fitting(fastest, self.network_input)
        return infer.batch_size

    def schema(self, writers: Sequence[WriterSection]) -> pa.Schema:
        """Return the columns, and the metadata, of rows with all that some of the job's writers want."""
        fields = list(dict.fromkeys(field for writer in writers for field in writer.fields))
        k = max((writer.k for writer in writers if "top_k" in writer.fields), default=0)
        metadata = {f"resnet_pipe.{key}": text for key, text in self.metadata.items()}
        schema = self.head.schema(fields, k)
        for name in self.job.reader.carries:
            schema = schema.append(carried_field(name))
        return schema.with_metadata(metadata)


def resolve(job: Job, doc: Document, choice: Choice | None = None) -> Resolved:
    """Bring a valid job, whose engine is not `auto` (any more), and its model together.

    Raises:
        DocumentError: the job asks for what the model does not have; all problems, with their places.
        ModelError: the model cannot be used.
    """
    model = open_model(job.infer.model)
    network = onnx_network.inspect(model.path)
    problems: list[tuple[Place, str]] = []
    preprocessing = preprocessing_of(job, model, network, problems)
    if preprocessing is not None and preprocessing.varies and job.infer.engine not in engines.of_any_size():
        able = " or ".join(engines.of_any_size())
        text = f"{job.infer.engine} takes images of one size only, and fit: shortest makes many; write {able}"
        problems.append((("infer", "engine"), text))
    precision = precision_of(job.infer, network, problems)
    head: Head | None = None
    if job.finds_objects:
        head = detection.head_of(job, model, network, problems)
    elif detection.gives_fields(job, model, network, problems):
        head = _classifying(job, model, network, preprocessing, precision, problems)
    for index, writer in enumerate(job.writer):
        place = job.writer_place(index)
        if writer.needs_frames and not job.reader.description.has_frames:
            problems.append(((*place, "kind"), f"writer kind `{writer.kind}` needs reader kind `video`"))
        if len(set(writer.fields)) != len(writer.fields):
            problems.append(((*place, "fields"), "a field is listed twice"))
    if problems or preprocessing is None or head is None:
        raise found_in(doc, problems)
    return Resolved(
        job=job,
        model=model,
        network=network,
        head=head,
        preprocessing=preprocessing,
        geometry=preprocessing.geometry(job.preprocess.mode),
        precision=precision,
        fingerprint=_fingerprint(job, model, network, head, preprocessing, precision),
        choice=choice,
    )


def _classifying(
    job: Job,
    model: Model,
    network: Network,
    preprocessing: Preprocessing | None,
    precision: str,
    problems: list[tuple[Place, str]],
) -> Classify:
    """Return the head of a job without boxes; what is wrong is added to the problems."""
    head = outputs.head_of(job, network, problems)
    if 0 in head.widths and preprocessing is not None and not problems:
        head = head.with_widths(outputs.measured(job, network, head, preprocessing, precision))
    labels = outputs.labels_of(model, head)
    if head.classes not in (0, len(labels)):
        text = f"the sidecar names {len(labels)} classes, but the network has {head.classes}"
        problems.append((("infer", "model"), text))
    for index, writer in enumerate(job.writer):
        if "top_k" in writer.fields and 0 < head.classes < writer.k:
            place = (*job.writer_place(index), "k")
            problems.append((place, f"the network has only {head.classes} classes; write k: {head.classes}"))
    return replace(head, labels=labels, activation=outputs.activation_of(job, head))


def preprocessing_of(
    job: Job, model: Model, network: Network, problems: list[tuple[Place, str]]
) -> Preprocessing | None:
    """Return the sidecar's preprocessing with what the job changes, and the size of the network's input.

    What is wrong is added to the problems; None if something is missing.
    """
    chosen = job.preprocess.model_dump(exclude={"mode"}, exclude_none=True)
    if model.sidecar is not None:
        chosen = model.sidecar.preprocessing.overridden(chosen)
    fit = chosen.get("fit", "crop")
    if network.size is not None and fit != "shortest":
        chosen.setdefault("crop", network.size)
    needed = ["crop", "mean", "std"]
    if fit == "crop":
        needed.insert(0, "resize")
    if fit == "shortest":
        needed[:1] = ["resize", "longest"]
        if any(network.sides):
            problems.append((("preprocess", "fit"), _fixed(network)))
    missing = [name for name in needed if name not in chosen]
    if missing and model.sidecar is None:
        text = f"{model.path.name} has no sidecar, so the job must set: {', '.join(missing)}"
        problems.append((("preprocess",), text))
        return None
    crop, size = chosen.get("crop"), network.size
    if crop is not None and size is not None and size != sides(crop):
        wanted = told(size[0] if size[0] == size[1] else size)
        text = f"{told(crop)}, but the network's input is {size[0]} x {size[1]}; write crop: {wanted}"
        problems.append((("preprocess", "crop"), text))
    if found := conflict(chosen):
        key, text = found
        problems.append((("preprocess", key), text))
        return None
    return Preprocessing(**chosen)


def _fixed(network: Network) -> str:
    """Return what is wrong if images are to have the sizes of `fit: shortest`."""
    size = " x ".join(str(side or "any") for side in network.sides)
    return (
        f"shortest makes images of many sizes, but the network's input is {size}; export it with a dynamic"
        " height and width, or write fit: pad"
    )


def _fingerprint(
    job: Job, model: Model, network: Network, head: Head, preprocessing: Preprocessing, precision: str
) -> Fingerprint:
    settings: dict[str, Any] = {
        "model_sha256": model.sha256,
        "model_data_sha256": [file_sha256(file) for file in network.data],
        "infer.precision": precision,
    }
    defaults: dict[str, Any] = {"model_data_sha256": [], "infer.activation": "softmax"}
    if head.detector is not None:
        detector = asdict(head.detector)
        settings["infer.detector"] = {**detector, "only": list(detector["only"])}  # as it is read from JSON
    elif isinstance(head, Classify):
        if "top_k" in job.fields:
            settings["infer.activation"] = head.activation
        for key, name in output_choice.chosen(network, head, job.infer.logits, job.infer.features).items():
            settings[f"infer.{key}"], defaults[f"infer.{key}"] = name

    def take(prefix: str, section: BaseModel, without: set[str]) -> None:
        # What has no default is missing in a section made of defaults alone, of which pydantic would warn.
        for made, found in ((section, settings), (type(section).model_construct(), defaults)):
            values = made.model_dump(mode="json", exclude=without, warnings=False)
            found.update({f"{prefix}.{key}": value for key, value in values.items()})

    take("preprocess", preprocessing, set())
    take("preprocess", job.preprocess, {*job.preprocess.model_dump()} - {"mode"})
    if job.preprocess.mode == "fast":
        settings["preprocess.mode"] = FAST
    take("reader", job.reader, set(job.reader.description.without_result))
    for index, writer in enumerate(job.writer):
        unused = set() if "top_k" in writer.fields else {"k"}
        prefix = f"writer.{index}" if len(job.writer) > 1 else "writer"
        take(prefix, writer, {"path", "storage", "timeout_s"} | unused)
        settings[f"{prefix}.fields"] = list(writer.fields)  # also of writers that have one, and no such key
    return Fingerprint(canonical(settings, defaults), defaults)
