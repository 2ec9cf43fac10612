"""JSON Lines shards: one object a row, for tools that read text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from resnet_pipe.head.registry import FieldName
from resnet_pipe.writer.tables.table import Block, TableSection, TextWriter, python_values
from resnet_pipe.writer.writer import RowKey, Target

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIX = ".jsonl"


def rows_in(path: Path) -> Iterator[Any]:
    """Yield the object of each line of a file."""
    with path.open(encoding="utf-8", newline="\n") as file:
        yield from map(json.loads, file)


def keys_in(path: Path) -> Iterator[RowKey]:
    """Yield the source and the frame of each line of a file."""
    return ((row["path"], row["frame_index"]) for row in rows_in(path))


def blocks_in(path: Path) -> Iterator[Block]:
    """Yield the lines of a file, each with the key of its source."""
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            yield json.loads(line)["path"], line


class JsonlSection(TableSection):
    """One JSON Lines file for each chunk."""

    shard_suffix: ClassVar = SUFFIX
    dataset_format: ClassVar = "json"
    number_bytes: ClassVar = 12
    row_keys: ClassVar = staticmethod(keys_in)

    kind: Literal["jsonl"]
    fields: Annotated[
        tuple[FieldName, ...], Field(min_length=1, description="members besides path, frame_index and pts_s")
    ] = ("top_k",)

    def open(self, target: Target) -> JsonlWriter:
        """Begin the shard of a chunk."""
        return JsonlWriter(target.shard(SUFFIX))

    def blocks(self, target: Target, directory: Path) -> Iterator[Block]:
        """Yield the lines of a shard, each with the key of its source."""
        return blocks_in(target.shard(SUFFIX, directory))


class JsonlWriter(TextWriter):
    """A shard that is being written."""

    def append(self, batch: pa.RecordBatch) -> None:
        """Add rows after those already there."""
        names = batch.schema.names
        for row in zip(*map(python_values, batch.columns), strict=True):
            record = dict(zip(names, row, strict=True))
            self._file.write(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n")

    def copy(self, rows: str) -> None:
        """Add a line."""
        self._file.write(rows)
