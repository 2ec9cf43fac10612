"""The contract of a writer, and the registry of the writers there are."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from resnet_pipe.errors import SourceError
from resnet_pipe.writer.rows import Layout, Rows

WRITERS = {
    "parquet": "resnet_pipe.writer.tables.parquet",
    "csv": "resnet_pipe.writer.tables.csv",
    "jsonl": "resnet_pipe.writer.tables.jsonl",
    "npy": "resnet_pipe.writer.tables.npy",
    "video": "resnet_pipe.writer.annotated.video",
    "images": "resnet_pipe.writer.annotated.images",
}
"""kind -> module. The module has open_shard() and merge(), which do what those below say."""

Part = tuple[Path, Collection[str]]
"""A directory with a shard, and the keys whose rows are to be left out of it."""


@dataclass(frozen=True)
class Target:
    """What one writer is to make of one chunk.

    Attributes:
        section: the writer's section of the job.
        directory: where to; laid out as the output directory.
        chunk: id of the chunk.
        layout: columns and metadata.
        root: the directory that the keys of the sources start from.
        track: for videos, the number of the track to read; None for the one that ffmpeg selects.
    """

    section: Any
    directory: Path
    chunk: str
    layout: Layout
    root: Path
    track: int | None = None

    def shard(self, suffix: str, directory: Path | None = None) -> Path:
        """Return the path of the shard that a table writer makes.

        Args:
            suffix: of its format, with the dot.
            directory: instead of the target's own.
        """
        return (directory or self.directory) / f"part-{self.chunk}{suffix}"


@dataclass(frozen=True)
class Written:
    """What a writer has made beside its shard.

    Attributes:
        files: of each source, its own files, relative to the target's directory.
        failures: of sources whose own files could not be made.
    """

    files: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    failures: Mapping[str, SourceError] = field(default_factory=dict)


class Shard(Protocol):
    """The output of one writer for one chunk, while it is being written."""

    def append(self, rows: Rows) -> None:
        """Add rows after those already there: sorted by path and frame, all of a source together."""

    def close(self) -> Written:
        """Complete the files."""

    def discard(self) -> None:
        """Give up, without delay: instead of `close`, or after it or `append` has failed."""


def open_shard(target: Target) -> Shard:
    """Begin the output of a writer for a chunk."""
    return cast(Shard, _module(target).open_shard(target))


def merge(target: Target, parts: Sequence[Part]) -> None:
    """Write a chunk's shard from the rows of others, sorted by path and frame.

    Writers that make files for single sources have no shard, and nothing to do.

    Args:
        target: its directory is none of the parts'.
        parts: directories with a shard of this chunk each; they have no source in common.
    """
    _module(target).merge(target, parts)


def _module(target: Target) -> Any:  # noqa: ANN401 - a module of the registry
    return importlib.import_module(WRITERS[target.section.kind])
