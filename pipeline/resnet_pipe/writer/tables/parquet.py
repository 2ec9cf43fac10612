"""Parquet shards: typed columns that pyarrow, pandas, polars and DuckDB read as they are."""

from __future__ import annotations

import heapq
import os
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from resnet_pipe.writer.rows import FieldName, Layout, Rows, TableSection
from resnet_pipe.writer.tables.arrays import numbers, numbers_or_null, texts
from resnet_pipe.writer.writer import Part, Target, Written

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIX = ".parquet"

ROW_GROUP_BYTES = 64 << 20
"""Large enough to scan at full speed, small enough to read one group in little memory."""
_COMBINED = 64
"""So many batches become one: each takes 7 KiB beside its values, which may be less than that."""


class ParquetSection(TableSection):
    """One Parquet file for each chunk."""

    kind: Literal["parquet"]
    fields: Annotated[
        tuple[FieldName, ...], Field(min_length=1, description="columns besides path, frame_index and pts_s")
    ] = ("features", "top_k")


def open_shard(target: Target) -> ParquetShard:
    """Begin a shard; see `writer.writer.open_shard`."""
    return ParquetShard(target.shard(SUFFIX), target.layout)


class ParquetShard:
    """A shard that is being written.

    Args:
        path: in a staging directory.
        layout: columns and metadata.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._layout = layout
        self._schema = _schema(layout)
        self._labels = texts(layout.classes)
        self._batches: list[pa.RecordBatch] = []
        self._pending: list[pa.Table] = []
        """What comes before the batches."""
        self._pending_bytes = 0
        self._sink = pa.OSFile(os.fsencode(path), "wb")  # pyarrow takes no str whose bytes are not UTF-8
        self._file = pq.ParquetWriter(self._sink, self._schema, **_encoding(layout))

    def append(self, rows: Rows) -> None:
        """Add rows after those already there."""
        import pyarrow as pa

        columns: list[Any] = [
            texts(rows.path),
            numbers_or_null(rows.frame_index, np.int64),
            numbers_or_null(rows.pts_s, np.float64),
        ]
        columns += [self._column(field, rows) for field in self._layout.fields]
        self.append_batch(pa.RecordBatch.from_arrays(columns, schema=self._schema))

    def append_batch(self, batch: pa.RecordBatch) -> None:
        """Add rows, as columns of the shard's schema, after those already there."""
        self._batches.append(batch)
        self._pending_bytes += batch.nbytes
        if len(self._batches) == _COMBINED:
            self._pending.append(self._table().combine_chunks())
            self._batches = []
        if self._pending_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def close(self) -> Written:
        """Complete the file."""
        self._flush()
        self.discard()
        return Written()

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

    def _column(self, field: FieldName, rows: Rows) -> Any:  # noqa: ANN401 - pyarrow is untyped
        import pyarrow as pa

        if field == "top_k":
            assert rows.top_k is not None  # noqa: S101 - the layout promised it
            count, k = rows.top_k.index.shape
            index = numbers(rows.top_k.index)
            entries = pa.StructArray.from_arrays(
                [index, self._labels.take(index), numbers(rows.top_k.score)],
                fields=list(self._schema.field("top_k").type.value_type),
            )
            return pa.ListArray.from_arrays(numbers(np.arange(count + 1, dtype=np.int32) * k), entries)
        values: NDArray[np.float32] | None = rows.features if field == "features" else rows.logits
        assert values is not None  # noqa: S101 - the layout promised it
        return pa.FixedSizeListArray.from_arrays(numbers(values), values.shape[1])


def merge(target: Target, parts: Sequence[Part]) -> None:
    """Write a shard from the rows of others; see `writer.writer.merge`."""
    merged = open_shard(target)
    schema = _schema(target.layout)
    tables = (_tables(target.shard(SUFFIX, directory), drop) for directory, drop in parts)
    for _, table in heapq.merge(*tables, key=itemgetter(0)):
        for batch in table.select(schema.names).cast(schema).to_batches():
            merged.append_batch(batch)
    merged.close()


def _tables(path: Path, drop: Collection[str]) -> Iterator[tuple[str, pa.Table]]:
    """Yield the rows of a shard, row group by row group and source by source, with the key of the source."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pa.OSFile(os.fsencode(path), "rb") as source:
        file = pq.ParquetFile(source)
        for number in range(file.num_row_groups):  # not `iter_batches`, which holds all groups at once
            table, start = file.read_row_group(number), 0
            for key, group in groupby(table["path"].to_pylist()):
                rows = sum(1 for _ in group)
                if key not in drop:
                    yield key, table.slice(start, rows)
                start += rows


def _schema(layout: Layout) -> pa.Schema:
    import pyarrow as pa

    entry = pa.struct([("index", pa.int32()), ("label", pa.string()), ("score", pa.float32())])
    types = {
        "features": pa.list_(pa.float32(), layout.features),
        "logits": pa.list_(pa.float32(), layout.logits),
        "top_k": pa.list_(entry),
    }
    columns = [("path", pa.string()), ("frame_index", pa.int64()), ("pts_s", pa.float64())]
    columns += [(field, types[field]) for field in layout.fields]
    return pa.schema(columns, metadata={f"resnet_pipe.{key}": text for key, text in layout.metadata.items()})


def _encoding(layout: Layout) -> dict[str, Any]:
    # Network outputs are noise to a compressor: plain pages cost a fifth of the time and 8 % more bytes.
    text = ["path", *(["top_k.list.element.label"] if "top_k" in layout.fields else [])]
    return {"compression": "snappy", "use_dictionary": text, "write_statistics": ["path", "frame_index"]}
