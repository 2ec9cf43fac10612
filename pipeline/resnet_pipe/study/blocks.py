"""Shards read block by block, in little memory: Parquet, CSV and JSON Lines, with the types that they had."""

from __future__ import annotations

import csv
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.head.rows import as_numpy, texts
from resnet_pipe.writer.tables.csv import from_cell

if TYPE_CHECKING:
    import pyarrow as pa

KEY = ("path", "frame_index")
FIELDS = ("features", "logits", "top_k")

Values = dict[str, NDArray[Any]]
"""`features` and `logits`, float32, shape (rows, width); of `top_k`, `index` and `score`, shape (rows, k).

A row with fewer than k classes has the index -1 in the place of those that it lacks.
"""
Load = Callable[[Collection[str]], "pa.Table"]
"""Reads these of the fields and of `KEY`, in one block."""

TEXT_BYTES = 8 << 20
"""Of a block of text: a few hundred rows of features, some thousands without."""
_BATCH_ROWS = 1024
"""That are decoded together, of a row group."""
_ENTRY = ("index", "score")


class Form(ABC):
    """How the shards of one format are read. Whatever a library says of a broken shard is raised."""

    @abstractmethod
    def widths(self, path: Path) -> dict[str, int | None]:
        """Return the fields of a shard, with their width; None where each row has its own."""

    @abstractmethod
    def blocks(self, path: Path) -> Iterator[Load]:
        """Yield what reads each block of a shard, in order; it works until the next one is asked for."""

    def paths(self, table: pa.Table) -> pa.Array:
        """Return the keys of the sources of rows."""
        return whole(table.column("path"))

    def values(self, table: pa.Table, fields: Collection[str]) -> Values:
        """Return the numbers of rows, of those fields that the table was read with."""
        found: Values = {}
        for name in fields:
            column = table.column(name)
            if name == "top_k":
                found.update(_entries(whole(column)))
            else:
                parts = [as_numpy(chunk.flatten()).reshape(len(chunk), -1) for chunk in column.chunks]
                found[name] = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return found

    def metadata(self, _path: Path) -> Mapping[str, str]:
        """Return what a shard says of how it was made: nothing, if it is text."""
        return {}


class _Dataset(Form):
    """Of any format that pyarrow calls so, if a file of it says which types it has."""

    def __init__(self, name: str) -> None:
        self._name = name

    def widths(self, path: Path) -> dict[str, int | None]:
        from pyarrow import types

        found = {field.name: field.type for field in self._schema(path) if field.name in FIELDS}
        return {
            name: kind.list_size if types.is_fixed_size_list(kind) else None for name, kind in found.items()
        }

    def blocks(self, path: Path) -> Iterator[Load]:
        import pyarrow as pa

        for batch in self._dataset(path).to_batches(batch_readahead=1, fragment_readahead=1):
            yield partial(_given, pa.Table.from_batches([batch]))

    def metadata(self, path: Path) -> Mapping[str, str]:
        own = b"resnet_pipe."
        said = (self._schema(path).metadata or {}).items()
        return {key.removeprefix(own).decode(): text.decode() for key, text in said if key.startswith(own)}

    def _dataset(self, path: Path) -> Any:  # noqa: ANN401 - pyarrow has no types
        import pyarrow.dataset

        return pyarrow.dataset.dataset(str(path), format=self._name)

    def _schema(self, path: Path) -> pa.Schema:
        return self._dataset(path).schema


class _Parquet(_Dataset):
    """Read one row group at a time: a dataset reads many of them ahead."""

    def blocks(self, path: Path) -> Iterator[Load]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        with pa.OSFile(os.fsencode(path), "rb") as source:
            # Read as it is decoded: `read_row_group` takes three times as much memory as what it returns.
            file = pq.ParquetFile(source, pre_buffer=False, buffer_size=1 << 20)
            for number in range(file.num_row_groups):
                yield partial(_row_group, file, number)

    def _schema(self, path: Path) -> pa.Schema:
        import pyarrow as pa
        import pyarrow.parquet as pq

        with pa.OSFile(os.fsencode(path), "rb") as source:  # a dataset takes no name that is not UTF-8
            return pq.read_schema(source)


def _row_group(file: Any, number: int, columns: Collection[str]) -> pa.Table:  # noqa: ANN401 - pyarrow has no types
    import pyarrow as pa

    return pa.Table.from_batches(file.iter_batches(_BATCH_ROWS, [number], list(columns), use_threads=False))


class _Jsonl(Form):
    def widths(self, path: Path) -> dict[str, int | None]:
        with path.open("rb") as file:
            row = json.loads(file.readline())
        return {name: None if name == "top_k" else len(row[name]) for name in FIELDS if name in row}

    def blocks(self, path: Path) -> Iterator[Load]:
        with path.open("rb") as file:
            while lines := file.readlines(TEXT_BYTES):
                yield partial(_parsed, b"".join(lines))


def _parsed(text: bytes, columns: Collection[str]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.json

    # Told from values, a name that looks like a date would become one.
    entry = pa.struct([("index", pa.int32()), ("score", pa.float32())])
    types = {"path": pa.string(), "frame_index": pa.int64(), "top_k": pa.list_(entry)}
    schema = pa.schema([(name, types.get(name, pa.list_(pa.float32()))) for name in columns])
    return pa.json.read_json(
        pa.BufferReader(text),
        pa.json.ReadOptions(block_size=len(text) + 1),
        pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )


class _Csv(Form):
    _COLUMNS: ClassVar[Mapping[str, str]] = {"logits": "logit_", "index": "index_", "score": "score_"}

    def widths(self, path: Path) -> dict[str, int | None]:
        header = self._header(path)
        found: dict[str, int | None] = {}
        if logits := self._names(header, "logits"):
            found["logits"] = len(logits)
        if self._names(header, "index"):
            found["top_k"] = None
        return found

    def blocks(self, path: Path) -> Iterator[Load]:
        import pyarrow as pa
        import pyarrow.csv

        header = self._header(path)
        types = {"frame_index": pa.int64()}
        types |= {name: pa.float32() for part in ("logits", "score") for name in self._names(header, part)}
        types |= {name: pa.int32() for name in self._names(header, "index")}
        with pa.OSFile(os.fsencode(path), "rb") as source:
            for batch in pa.csv.open_csv(
                source,
                pa.csv.ReadOptions(use_threads=False, block_size=TEXT_BYTES),
                pa.csv.ParseOptions(newlines_in_values=True),
                pa.csv.ConvertOptions(column_types={name: types.get(name, pa.string()) for name in header}),
            ):
                yield partial(_given, pa.Table.from_batches([batch]))

    def paths(self, table: pa.Table) -> pa.Array:
        return texts([from_cell(cell) for cell in table.column("path").to_pylist()])

    def values(self, table: pa.Table, fields: Collection[str]) -> Values:
        parts = [part for field in fields for part in (_ENTRY if field == "top_k" else (field,))]
        return {part: self._matrix(table, self._names(table.column_names, part)) for part in parts}

    @staticmethod
    def _matrix(table: pa.Table, names: Sequence[str]) -> NDArray[Any]:
        return np.column_stack([as_numpy(whole(table.column(name))) for name in names])

    def _names(self, header: Sequence[str], part: str) -> list[str]:
        """Return the columns of a field, in the order in which they are there: that of their numbers."""
        start = self._COLUMNS[part]
        return [name for name in header if name.startswith(start)]

    @staticmethod
    def _header(path: Path) -> list[str]:
        with path.open(encoding="utf-8", newline="") as file:
            return next(csv.reader(file))


def _given(table: pa.Table, _columns: Collection[str]) -> pa.Table:
    return table


FORMS: Mapping[str, Form] = {"parquet": _Parquet("parquet"), "json": _Jsonl(), "csv": _Csv()}
"""By what pyarrow calls the format."""


def form_of(name: str) -> Form:
    """Return how shards are read whose format pyarrow calls so."""
    return FORMS.get(name) or _Dataset(name)


def whole(column: pa.ChunkedArray) -> pa.Array:
    """Return a column in one piece."""
    import pyarrow as pa

    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _entries(lists: pa.ListArray) -> Values:
    """Return the classes of rows: index, int32, and score, float32."""
    offsets = as_numpy(lists.offsets)
    lengths = np.diff(offsets)
    there = np.arange(lengths.max(initial=0)) < lengths[:, None]
    entries = lists.flatten()
    found: Values = {}
    for name, missing in zip(_ENTRY, (np.int32(-1), np.float32(0)), strict=True):
        found[name] = np.full(there.shape, missing)
        found[name][there] = as_numpy(entries.field(name))
    return found
