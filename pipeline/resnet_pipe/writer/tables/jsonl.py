"""JSON Lines shards: one object a row, for tools that read text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from resnet_pipe.head.registry import FieldName
from resnet_pipe.writer.tables.table import Block, TableSection, TextWriter, python_values
from resnet_pipe.writer.writer import RowKey, Target

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIX = ".jsonl"


class JsonlSection(TableSection):
    """One JSON Lines file for each chunk."""

    shard_suffix: ClassVar = SUFFIX
    dataset_format: ClassVar = "json"
    number_bytes: ClassVar = 12

    kind: Literal["jsonl"]
    fields: Annotated[
        tuple[FieldName, ...], Field(min_length=1, description="members besides path, frame_index and pts_s")
    ] = ("top_k",)

    def open(self, target: Target) -> JsonlWriter:
        """Begin the shard of a chunk."""
        return JsonlWriter(target.shard(SUFFIX))

    @staticmethod
    def row_keys(path: Path) -> Iterator[RowKey]:
        """Yield which rows a shard has."""
        with path.open(encoding="utf-8", newline="\n") as file:
            for row in map(json.loads, file):
                yield row["path"], row["frame_index"]

    def blocks(self, target: Target, directory: Path) -> Iterator[Block]:
        """Yield the lines of a shard, each with the key of its source."""
        with target.shard(SUFFIX, directory).open(encoding="utf-8", newline="\n") as file:
            for line in file:
                yield json.loads(line)["path"], line


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
