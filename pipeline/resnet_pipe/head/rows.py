"""Rows as Arrow record batches: the columns that all of them have, and what a schema says of the others.

Arrays are made and read without pandas: `pyarrow.array` and `Array.to_numpy` import it wherever it is
installed, only to ask whether a Series is meant. That took each run 0.2 seconds of a processor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

if TYPE_CHECKING:
    import pyarrow as pa

Values = tuple[str | None, ...]
"""Of the columns of what comes with a source: see `CARRIED`."""

Place = (
    tuple[str, int | None, float | None]
    | tuple[str, int | None, float | None, object]
    | tuple[str, int | None, float | None, object, Values]
)
"""Of an item: the key of its source, its number and its time in seconds; without both for an image.

In a run, its `Placement` comes after these, and then what comes with its source.
"""

PLACE = ("path", "frame_index", "pts_s")
"""The first columns, which say of which item a row is. Rows are sorted by them."""

BOXES = ("detections", "width", "height")
"""The columns of the field `boxes`: what was found in an item, and how large its source is, in pixels.

`detections` is a list of `box_type`, falling by score, with corners in pixels of the source as displayed.
"""

ONE = b"one"
"""In the metadata of a column with a fixed number of values: what one of them is called."""
ENTRIES = b"entries"
"""In the metadata of a column with lists: how many entries each has at most."""
LABELS = b"labels"
"""In the metadata of a column with indices of classes: the labels of all classes, as a JSON list."""
CARRIED = b"carried"
"""In the metadata of a column of texts that come with the sources. These are the last columns, and no head
makes them."""


def carried_field(name: str) -> pa.Field:
    """Return a column of what comes with the sources."""
    import pyarrow as pa

    return pa.field(name, pa.string(), metadata={CARRIED: b""})


def is_carried(field: pa.Field) -> bool:
    """Tell whether a column is of what comes with the sources."""
    return CARRIED in (field.metadata or {})


def with_carried(batch: pa.RecordBatch, values: Sequence[Values], schema: pa.Schema) -> pa.RecordBatch:
    """Return rows with what comes with the source of each; the schema has columns for it after the others."""
    import pyarrow as pa

    return pa.RecordBatch.from_arrays([*batch.columns, *map(texts, zip(*values, strict=True))], schema=schema)


def place_schema() -> pa.Schema:
    """Return the columns of `PLACE`."""
    import pyarrow as pa

    return pa.schema(zip(PLACE, (pa.string(), pa.int64(), pa.float64()), strict=True))


def box_type() -> pa.StructType:
    """Return the type of one of the `detections`: x1, y1, x2, y2, score, label and name."""
    import pyarrow as pa

    corners = [(name, pa.float32()) for name in ("x1", "y1", "x2", "y2", "score")]
    return pa.struct([*corners, ("label", pa.int32()), ("name", pa.string())])


def place_columns(places: Sequence[Place]) -> list[pa.Array]:
    """Return the values of the columns of `PLACE`."""
    keys, frames, times, *_ = zip(*places, strict=True)
    return [texts(keys), numbers_or_null(frames, np.int64), numbers_or_null(times, np.float64)]


def by_source(batch: pa.RecordBatch | pa.Table) -> Iterator[tuple[str, pa.RecordBatch | pa.Table]]:
    """Yield the key of each source in some rows, and its rows, which are together."""
    start = 0
    for key, group in groupby(batch.column("path").to_pylist()):
        count = sum(1 for _ in group)
        yield key, batch.slice(start, count)
        start += count


def view(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return the columns of a schema, of lists the first `ENTRIES` or all, from rows with at least these."""
    import pyarrow as pa

    columns = []
    for field in schema:
        column = batch.column(field.name)
        limit = (field.metadata or {}).get(ENTRIES) if pa.types.is_list(field.type) else None
        columns.append(column if limit is None else _cut(column, int(limit)))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def matrix(column: pa.FixedSizeListArray) -> NDArray[np.float32]:
    """Return a column with a fixed number of float32, shape (rows, width), without a copy."""
    values: NDArray[np.float32] = as_numpy(column.flatten())
    return values.reshape(len(column), column.type.list_size)


def of_matrix(values: NDArray[np.float32]) -> pa.FixedSizeListArray:
    """Return float32, shape (rows, width), as a column with a fixed number of values, without a copy."""
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(numbers(values), values.shape[1])


def _cut(lists: pa.ListArray, limit: int) -> pa.ListArray:
    """Return lists without the entries after the first `limit`."""
    import pyarrow as pa

    offsets = as_numpy(lists.offsets)
    lengths = np.diff(offsets)
    if lengths.max(initial=0) <= limit:
        return lists
    rank = np.arange(offsets[0], offsets[-1]) - np.repeat(offsets[:-1], lengths)
    kept = np.concatenate([[0], np.minimum(lengths, limit).cumsum()]).astype(np.int32)
    return pa.ListArray.from_arrays(
        numbers(kept), lists.flatten().take(numbers(np.flatnonzero(rank < limit)))
    )


def numbers(values: NDArray[np.generic], given: NDArray[np.bool_] | None = None) -> pa.Array:
    """Return numbers as an Arrow array, row after row; without a copy if they lie in memory like that.

    Those that are not `given` are null.
    """
    import pyarrow as pa

    flat = values.ravel()
    nulls = None if given is None or given.all() else pa.py_buffer(np.packbits(given, bitorder="little"))
    return pa.Array.from_buffers(pa.from_numpy_dtype(flat.dtype), len(flat), [nulls, pa.py_buffer(flat)])


def as_numpy(array: pa.Array) -> NDArray[Any]:
    """Return the numbers of an Arrow array without nulls; without a copy, not to be changed."""
    return np.from_dlpack(array)


def numbers_or_null(values: Sequence[float | None], dtype: DTypeLike) -> pa.Array:
    """Return numbers of a type as an Arrow array, with null for None."""
    given = np.array([value is not None for value in values], np.bool_)
    return numbers(np.array([0 if value is None else value for value in values], dtype), given)


def texts(values: Sequence[str | None]) -> pa.Array:
    """Return texts of at most 2 GiB, all together, as an Arrow array of strings, with null for None."""
    import pyarrow as pa

    nulls = None
    if None in values:
        given = np.array([value is not None for value in values], np.bool_)
        nulls = pa.py_buffer(np.packbits(given, bitorder="little"))
    encoded = [(value or "").encode() for value in values]
    ends = np.zeros(len(encoded) + 1, np.int32)
    np.cumsum([len(text) for text in encoded], out=ends[1:])
    return pa.Array.from_buffers(
        pa.string(), len(encoded), [nulls, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    )
