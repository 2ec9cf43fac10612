"""Parquet shards: typed columns that pyarrow, pandas, polars and DuckDB read as they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from resnet_pipe.head.registry import FieldName
from resnet_pipe.head.rows import by_source
from resnet_pipe.writer.tables.table import Block, TableSection, TableWriter
from resnet_pipe.writer.writer import RowKey, Target, Written

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIX = ".parquet"

ROW_GROUP_BYTES = 64 << 20
"""Large enough to scan at full speed, small enough to read one group in little memory."""
_COMBINED = 64
"""So many batches become one: each takes 7 KiB beside its values, which may be less than that."""


class ParquetSection(TableSection):
    """One Parquet file for each chunk."""

    shard_suffix: ClassVar = SUFFIX
    dataset_format: ClassVar = "parquet"

    kind: Literal["parquet"]
    fields: Annotated[
        tuple[FieldName, ...], Field(min_length=1, description="columns besides path, frame_index and pts_s")
    ] = ("features", "top_k")

    def open(self, target: Target) -> ParquetWriter:
        """Begin the shard of a chunk."""
        return ParquetWriter(target.shard(SUFFIX), target.schema)

    @staticmethod
    def row_keys(path: Path) -> Iterator[RowKey]:
        """Yield which rows a shard has."""
        for group in _row_groups(path, ["path", "frame_index"]):
            yield from zip(group["path"].to_pylist(), group["frame_index"].to_pylist(), strict=True)

    def blocks(self, target: Target, directory: Path) -> Iterator[Block]:
        """Yield the rows of a shard as tables, row group by row group and source by source."""
        # A loop's variable would hold one group while the next one is read.
        yield from chain.from_iterable(map(by_source, _row_groups(target.shard(SUFFIX, directory))))


def _row_groups(path: Path, columns: list[str] | None = None) -> Iterator[pa.Table]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pa.OSFile(os.fsencode(path), "rb") as source:
        file = pq.ParquetFile(source)
        for number in range(file.num_row_groups):  # not `iter_batches`, which holds all groups at once
            yield file.read_row_group(number, columns)


class ParquetWriter(TableWriter):
    """A shard that is being written."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        # What a column says of itself is for writers; that of the whole is for whoever reads the file.
        self._schema = pa.schema([field.remove_metadata() for field in schema], schema.metadata)
        self._batches: list[pa.RecordBatch] = []
        self._pending: list[pa.Table] = []
        """What comes before the batches."""
        self._pending_bytes = 0
        self._sink = pa.OSFile(os.fsencode(path), "wb")  # pyarrow takes no str whose bytes are not UTF-8
        self._file = pq.ParquetWriter(self._sink, self._schema, **_encoding(schema))

    def append(self, batch: pa.RecordBatch) -> None:
        """Add rows after those already there."""
        import pyarrow as pa

        self._batches.append(pa.RecordBatch.from_arrays(batch.columns, schema=self._schema))
        self._pending_bytes += batch.nbytes
        if len(self._batches) == _COMBINED:
            self._pending.append(self._table().combine_chunks())
            self._batches = []
        if self._pending_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def copy(self, rows: pa.Table) -> None:
        """Add the rows of a table."""
        for batch in rows.select(self._schema.names).cast(self._schema).to_batches():
            self.append(batch)

    def close(self) -> Written:
        """Complete the file."""
        self._flush()
        return super().close()

    def discard(self) -> None:
        """Release the file."""
        self._file.close()
        self._sink.close()

    def _table(self) -> pa.Table:
        import pyarrow as pa

        return pa.Table.from_batches(self._batches, self._schema)

    def _flush(self) -> None:
        import pyarrow as pa

        table = pa.concat_tables([*self._pending, self._table()])
        if table.num_rows:
            self._file.write_table(table, row_group_size=table.num_rows)
        self._pending, self._batches, self._pending_bytes = [], [], 0


def _encoding(schema: pa.Schema) -> dict[str, Any]:
    from pyarrow import types

    # Network outputs are noise to a compressor: plain pages cost a fifth of the time and 8 % more bytes.
    text = []
    for field in schema:
        if types.is_string(field.type):
            text.append(field.name)
        elif types.is_list(field.type):
            members = [member.name for member in field.type.value_type if types.is_string(member.type)]
            text += [f"{field.name}.list.element.{member}" for member in members]
    return {"compression": "snappy", "use_dictionary": text, "write_statistics": ["path", "frame_index"]}
