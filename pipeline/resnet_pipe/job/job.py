"""The job file: what a run reads, how it prepares it, what it infers and where it writes the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from resnet_pipe.infer.section import InferSection
from resnet_pipe.job import carry, document, self_feeding
from resnet_pipe.job.document import Document, found_in
from resnet_pipe.job.run_section import RunSection
from resnet_pipe.job.syntax import Place
from resnet_pipe.preprocess.geometry import Fit, Mode
from resnet_pipe.preprocess.preprocessing import (
    MEANINGS,
    Crop,
    Deviations,
    Factor,
    Longest,
    Means,
    Multiple,
    PadValue,
    Resize,
)
from resnet_pipe.preprocess.resizing import Interpolation, Rounding
from resnet_pipe.reader.registry import Section as ReaderSection
from resnet_pipe.store.connection import Storage
from resnet_pipe.store.objects import Objects
from resnet_pipe.store.store import Output
from resnet_pipe.writer.registry import Section as WriterSection

if TYPE_CHECKING:
    from resnet_pipe.head.registry import FieldName


class PreprocessSection(BaseModel):
    """From a decoded frame to the network's input. Anything left out comes from the model's sidecar."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    resize: Annotated[Resize | None, Field(description=MEANINGS["resize"])] = None
    crop: Annotated[Crop | None, Field(description=MEANINGS["crop"])] = None
    fit: Annotated[Fit | None, Field(description=MEANINGS["fit"])] = None
    longest: Annotated[Longest | None, Field(description=MEANINGS["longest"])] = None
    multiple: Annotated[Multiple | None, Field(description=MEANINGS["multiple"])] = None
    pad_value: Annotated[PadValue | None, Field(description=MEANINGS["pad_value"])] = None
    rounding: Annotated[Rounding | None, Field(description=MEANINGS["rounding"])] = None
    interpolation: Annotated[Interpolation | None, Field(description=MEANINGS["interpolation"])] = None
    mode: Annotated[
        Mode,
        Field(description="exact: torchvision's pixels, within 1 grey level; fast: close, in less time"),
    ] = "exact"
    rescale: Annotated[Factor | None, Field(description=MEANINGS["rescale"])] = None
    mean: Annotated[Means | None, Field(description=MEANINGS["mean"])] = None
    std: Annotated[Deviations | None, Field(description=MEANINGS["std"])] = None
    color: Annotated[Literal["rgb", "bgr"] | None, Field(description=MEANINGS["color"])] = None


def _writers(value: Any) -> Any:  # noqa: ANN401 - whatever the document holds
    """Return a single writer as a list; in a list, the first writer's path and storage apply to all."""
    if not isinstance(value, list | tuple):
        return [value]
    if not value or not all(isinstance(writer, dict) for writer in value):
        return value
    of_all = {key: value[0][key] for key in ("path", "storage") if key in value[0]}
    return [{**of_all, **writer} for writer in value]


class Job(BaseModel):
    """A job of resnet-pipe: reader -> preprocess -> infer -> writer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100, description="for logs and metrics")]
    reader: Annotated[ReaderSection, Field(discriminator="kind")]
    preprocess: PreprocessSection = PreprocessSection()
    infer: InferSection
    writer: Annotated[
        tuple[Annotated[WriterSection, Field(discriminator="kind")], ...],
        BeforeValidator(_writers),
        Field(min_length=1, description="one writer, or a list of them"),
    ]
    run: RunSection = RunSection()

    @field_validator("writer")
    @classmethod
    def _one_output_directory(cls, writers: tuple[WriterSection, ...]) -> tuple[WriterSection, ...]:
        if len({writer.path for writer in writers}) > 1:
            raise ValueError("the writers of a job share one output directory: set `path` once")
        if len({writer.kind for writer in writers}) < len(writers):
            raise ValueError("two writers of the same kind would write the same files")
        return writers

    @field_validator("writer")
    @classmethod
    def _boxes_beside_boxes(cls, writers: tuple[WriterSection, ...]) -> tuple[WriterSection, ...]:
        """Where one writer has boxes, so have those whose `fields` are not said."""
        if not any("boxes" in writer.fields for writer in writers):
            return writers
        return tuple(
            writer.model_copy(update={"fields": ("boxes",)})
            if "fields" in type(writer).model_fields.keys() - writer.model_fields_set
            else writer
            for writer in writers
        )

    def writer_place(self, index: int) -> Place:
        """Return where in the document one of the writers is."""
        return ("writer", index) if len(self.writer) > 1 else ("writer",)

    @property
    def output(self) -> Output:
        """The output directory, or what is below an address in a bucket."""
        path = self.writer[0].path
        if isinstance(path, Path):
            return path
        storage = self.writer[0].storage
        return Objects(path, storage.storage if storage else Storage())

    @property
    def finds_objects(self) -> bool:
        """Whether a writer asks for boxes."""
        return "boxes" in self.fields

    @property
    def fields(self) -> frozenset[FieldName]:
        """The fields that the writers ask for."""
        return frozenset(field for writer in self.writer for field in writer.fields)


class LoadedJob(NamedTuple):
    """A job that has been checked, with every default filled in, and where it was written, for messages."""

    job: Job
    document: Document


def load(path: Path, overrides: Sequence[str] = (), option: str = "") -> LoadedJob:
    """Read and check a job file; relative paths in it start from its directory.

    Overrides are `key.key=value` assignments, given with an option of the command line or by a program, and
    applied before anything is checked. DocumentError has every problem found, each as
    `file:line:column: what is wrong`.
    """
    return _checked(document.read(path), path.absolute().parent, overrides, option)


def load_any(job: str | PathLike[str] | Mapping[str, Any], overrides: Mapping[str, object]) -> LoadedJob:
    """Check a job file, or the same as a mapping, with values by dotted key that replace its own; see `load`.

    Relative paths in a mapping start from the current directory.
    """
    assignments = [f"{key}={document.as_json(value)}" for key, value in overrides.items()]
    if isinstance(job, Mapping):
        return _checked(document.of_mapping(job), Path.cwd(), assignments)
    return load(Path(job), assignments)


def _checked(doc: Document, base: Path, overrides: Sequence[str], option: str = "") -> LoadedJob:
    doc = doc.with_overrides(overrides, option)
    job = doc.validate(Job, {"base": base})
    problems = [*self_feeding.problems(job), *carry.problems(job)]
    if problems:
        raise found_in(doc, problems)
    return LoadedJob(job, doc)


def json_schema() -> dict[str, Any]:
    """Return a JSON Schema (draft-07) of the job file, for completion in editors."""
    schema = Job.model_json_schema(ref_template="#/definitions/{model}")
    definitions = schema.pop("$defs")
    several = schema["properties"]["writer"]
    description = several.pop("description")
    one = several["items"]
    for section in one["discriminator"]["mapping"].values():
        definitions[section.rpartition("/")[2]]["required"].remove("path")  # the first one's is that of all
    schema["properties"]["writer"] = {
        "description": description,
        "anyOf": [{"allOf": [one, {"required": ["path"]}]}, several],
    }
    return {"$schema": "http://json-schema.org/draft-07/schema#", **schema, "definitions": definitions}
