"""What the sections of all writers share: their first keys, and how a writer describes itself."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from resnet_pipe.job.document import looks_at_disk
from resnet_pipe.job.location import located

RowKey = tuple[str, int | None]
"""The key of a row's source, and its frame: None for an image, and for the one row of all frames together."""

if TYPE_CHECKING:
    from resnet_pipe.head.registry import FieldName
    from resnet_pipe.writer.writer import Portion, Target, Writer


@looks_at_disk
def _directory(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str) or not value:
        raise ValueError("expected the path of the output directory")
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
    number_bytes: ClassVar[int] = 4
    """That a number takes in its files: a float32, unless it is text."""
    fields_key: ClassVar[str] = "fields"
    """The key of the section that says which fields are wanted."""
    needs_frames: ClassVar[bool] = False
    """Whether it can write videos only."""

    path: Annotated[
        Path,
        BeforeValidator(_directory, json_schema_input_type=str),
        Field(description="output directory, created if missing"),
    ]
    k: Annotated[int, Field(ge=1, le=1000, description="number of entries in top_k")] = 5

    if TYPE_CHECKING:  # of each section: as a key of it, or not

        @property
        def kind(self) -> str:
            """Its name."""

        @property
        def fields(self) -> tuple[FieldName, ...]:
            """The columns that it takes, beside those that say of which item a row is."""

    @property
    def over_frames(self) -> Literal["mean", "max"] | None:
        """How the frames of a source become one row; None if each is one."""
        return None

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
