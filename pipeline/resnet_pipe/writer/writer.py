"""The contract of a writer: its section of the job, and what turns the rows of one chunk into files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    ValidationInfo,
    field_validator,
)

from resnet_pipe.errors import SourceError
from resnet_pipe.job.location import located, looks_at_disk
from resnet_pipe.job.storage import StorageSection
from resnet_pipe.reader.files import Files
from resnet_pipe.store.address import Address, is_address

if TYPE_CHECKING:
    import pyarrow as pa

    from resnet_pipe.head.registry import FieldName

RowKey = tuple[str, int | None]
"""The key of a row's source, and its frame: None for an image, and for the one row of all frames together."""
Portion = tuple[Path, Collection[str]]
"""A directory with a shard, and the keys whose rows are to be left out of it."""


@dataclass(frozen=True)
class Target:
    """What one writer is to make of one chunk.

    Attributes:
        directory: where to; laid out as the output directory.
        schema: of the record batches that it will be given; see `resnet_pipe.head.rows`.
        files: where the sources are, for writers that read them again.
        track: for videos, the number of the track to read; None for the one that ffmpeg selects.
        has_frames: whether the sources are videos.
    """

    directory: Path
    chunk: str
    schema: pa.Schema
    files: Files
    track: int | None = None
    has_frames: bool = False

    def shard(self, suffix: str, directory: Path | None = None) -> Path:
        """Return the path of a table's shard; the suffix has a dot, and another directory may be given."""
        return (directory or self.directory) / f"part-{self.chunk}{suffix}"


@dataclass(frozen=True)
class Written:
    """What a writer has made beside its shard: files of single sources, relative to the target's directory.

    The failures are of sources whose files could not be made.
    """

    files: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    failures: Mapping[str, SourceError] = field(default_factory=dict)


class Committed(NamedTuple):
    """A committed chunk: its shard, and the sources that gave no rows, by key, with the reason in words."""

    shard: Path
    failures: Mapping[str, str]


class Writer(ABC):
    """The output of one writer for one chunk, while it is being written."""

    @abstractmethod
    def append(self, batch: pa.RecordBatch) -> None:
        """Add rows after those already there: sorted by path and frame, all of a source together."""

    @abstractmethod
    def close(self) -> Written:
        """Complete the files, which are in the target's directory then."""

    @abstractmethod
    def discard(self) -> None:
        """Give up, without delay: instead of `close`, or after it or `append` has failed."""

    def hurry(self) -> None:  # noqa: B027 - most writers wait for nothing but the disk
        """Make `close` return soon, be the files complete or not. The only method for other threads."""


@looks_at_disk
def _output(value: object, info: ValidationInfo) -> Path | Address:
    if not isinstance(value, str) or not value:
        raise ValueError("expected the path of the output directory")
    if is_address(value):
        return Address(value)
    path = located(value, info.context["base"] if info.context else Path())
    if path.exists() and not path.is_dir():
        raise ValueError(f"not a directory: {path}")
    return path.resolve()


class WriterSection(BaseModel):
    """The `writer` of a job, or one of several, whatever it writes."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    suffixes: ClassVar[tuple[str, ...]] = ()
    """What the names of files of single sources end in, which it makes in a folder called like its kind."""
    shard_suffix: ClassVar[str | None] = None
    """What the name of its shard ends in, or of the file that says which rows the shard has; None without."""
    dataset_format: ClassVar[str | None] = None
    """What pyarrow calls the format of its shards; None where pyarrow does not read them."""
    merged: ClassVar[tuple[str, ...]] = ()
    """The files, below the output directory, that `finish` makes of all chunks; in a folder of its kind."""
    number_bytes: ClassVar[int] = 4
    """That a number takes in its files: a float32, unless it is text."""
    fields_key: ClassVar[str] = "fields"
    """The key of the section that says which fields are wanted."""
    needs_frames: ClassVar[bool] = False
    """Whether it can write videos only."""
    reads_sources: ClassVar[bool] = False
    """Whether it reads each source again, soon after it was read first."""

    path: Annotated[
        Path | InstanceOf[Address],
        BeforeValidator(_output, json_schema_input_type=str),
        Field(description="output directory, created if missing; or an address in a bucket"),
    ]
    storage: Annotated[
        StorageSection | None, Field(description="how to reach the server, where path is in a bucket")
    ] = None
    k: Annotated[int, Field(ge=1, le=1000, description="number of entries in top_k")] = 5

    if TYPE_CHECKING:  # of each section: as a key of it, or not

        @property
        def kind(self) -> str:
            """Its name."""

        @property
        def fields(self) -> tuple[FieldName, ...]:
            """The columns that it takes, beside those that say of which item a row is."""

    @field_validator("storage")
    @classmethod
    def _of_a_bucket(cls, storage: StorageSection | None, info: ValidationInfo) -> StorageSection | None:
        if storage is not None and isinstance(info.data.get("path"), Path):
            raise ValueError("it is for buckets, but writer.path is on a disk: remove it")
        return storage

    @property
    def over_frames(self) -> Literal["mean", "max"] | None:
        """How the frames of a source become one row; None if each is one."""
        return None

    def has_column(self, _name: str) -> bool:
        """Tell whether it makes a column of this name, beside those that rows have."""
        return False

    @abstractmethod
    def open(self, target: Target) -> Writer:
        """Begin the files of a chunk."""

    @staticmethod
    def row_keys(path: Path) -> Iterator[RowKey]:
        """Yield which rows a shard has, in little memory, or raise what a library says of a broken file."""
        raise NotImplementedError

    def merge(self, target: Target, portions: Sequence[Portion]) -> None:
        """Write a chunk's shard from the rows of others, sorted by path and frame.

        Writers that make files for single sources have no shard, and nothing to do. The portions, which have
        no source in common, are none of them in the target's directory.
        """

    def finish(self, target: Target, chunks: Iterable[Committed]) -> None:
        """Make the `merged` files, whose folder is there, of the shards of all chunks, in little memory.

        The chunks come in their order, each while its shard is there. Whoever calls puts the files in place
        when all are complete: the target's directory is empty, and laid out as the output directory.
        """
        raise NotImplementedError
