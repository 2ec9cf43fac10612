"""The contract of a writer: it turns the record batches of one chunk into files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_pipe.errors import SourceError

if TYPE_CHECKING:
    import pyarrow as pa

Portion = tuple[Path, Collection[str]]
"""A directory with a shard, and the keys whose rows are to be left out of it."""


@dataclass(frozen=True)
class Target:
    """What one writer is to make of one chunk.

    Attributes:
        directory: where to; laid out as the output directory.
        schema: of the record batches that it will be given; see `resnet_pipe.head.rows`.
        root: the directory that the keys of the sources start from.
        track: for videos, the number of the track to read; None for the one that ffmpeg selects.
    """

    directory: Path
    chunk: str
    schema: pa.Schema
    root: Path
    track: int | None = None

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
