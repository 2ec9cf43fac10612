"""What a manifest says in some of its columns: CSV, TSV, JSONL or Parquet, told by the extension."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from io import BufferedReader, TextIOWrapper
from itertools import chain
from typing import TYPE_CHECKING, Any

from resnet_pipe.errors import RunError, SourceError, UsageError
from resnet_pipe.reader.carried import MAX_BYTES, carried, check_columns, python_value
from resnet_pipe.reader.files import Containers
from resnet_pipe.reader.listing import extension_of
from resnet_pipe.reader.opened import AsFile, Opened
from resnet_pipe.reader.source import Carried

if TYPE_CHECKING:
    from pyarrow import RecordBatch

Row = tuple[int, tuple[object, ...], Carried]
"""Its number, as a spreadsheet or an editor shows it, its value in each column, None if it has none, and what
it has in the columns that are carried."""
Columns = Mapping[str, str]
"""Names of columns, by the keys of the job that say them."""
_REMEDY = "repair it, or make it again: CSV, TSV, JSONL (UTF-8) or Parquet, told by the extension"
_LONGEST_LINE = 1 << 20
"""Characters of a line that ends."""
_SHOWN = 10
"""So many names of columns are listed."""
_AT_ONCE = 4096
"""Rows of a Parquet file that are in memory."""


def read_rows(lists: Containers, manifest: str, columns: Columns, carry: Sequence[str] = ()) -> Iterator[Row]:
    """Yield the rows of a manifest of a key, with their values in the order of the columns.

    `carry` are the columns that are carried.

    Rows are counted from 1; the header of CSV is the first one.

    Raises:
        RunError: the file cannot be read to its end: to leave out rows would lose sources.
        UsageError: it lacks one of the columns.
    """
    place = f"{lists.root}/{manifest}"
    read = _READERS.get(extension_of(manifest))
    if read is None:
        names = " ".join(sorted(EXTENSIONS))
        raise RunError(f"{place}: the extension does not tell what it is", f"rename it: {names}")
    try:
        with closing(lists.open(manifest)) as opened:
            yield from read(opened, columns, carry)
    except SourceError as error:
        raise RunError(f"{place} cannot be read: {error.message}", _REMEDY) from None
    except OSError as error:
        raise RunError(f"{place} cannot be read: {error.strerror or error}", _REMEDY) from None
    except (ValueError, csv.Error, MemoryError) as error:  # those of pyarrow and of UTF-8 are ValueErrors
        raise RunError(f"{place} cannot be read: {' '.join(str(error).split())}", _REMEDY) from None


def _lines(manifest: Opened) -> Iterator[str]:
    """Yield the lines of a file with their ends."""
    with TextIOWrapper(BufferedReader(AsFile(manifest)), "utf-8-sig", newline="") as text:
        while line := text.readline(_LONGEST_LINE):
            if len(line) == _LONGEST_LINE:
                raise ValueError(f"a line has more than {_LONGEST_LINE} characters")
            yield line


def _csv(manifest: Opened, columns: Columns, carry: Sequence[str], delimiter: str = ",") -> Iterator[Row]:
    if carry:  # without being told, Python reads 128 KiB of a value
        csv.field_size_limit(max(csv.field_size_limit(), 2 * MAX_BYTES))
    rows = csv.reader(_lines(manifest), delimiter=delimiter, strict=True)
    header = next(rows, None)
    if not header:
        raise RunError(
            f"{manifest.place} begins with an empty line", "begin it with the names of its columns"
        )
    _check(manifest, columns, carry, header)
    wanted = [header.index(column) for column in columns.values()]
    others = [(column, header.index(column)) for column in carry]
    for number, values in enumerate(rows, 2):
        if values:  # no empty line
            told = {column: values[at] for column, at in others if at < len(values)} if carry else {}
            found = tuple(values[at] if at < len(values) else None for at in wanted)
            yield number, found, carried(carry, told.get)


def _tsv(manifest: Opened, columns: Columns, carry: Sequence[str]) -> Iterator[Row]:
    return _csv(manifest, columns, carry, "\t")


def _jsonl(manifest: Opened, columns: Columns, carry: Sequence[str]) -> Iterator[Row]:
    names: dict[str, None] = {}
    unseen = {*columns.values(), *carry}
    for number, line in enumerate(_lines(manifest), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RunError(f"{manifest.place}, line {number}, is not JSON: {error}", _REMEDY) from None
        row = row if isinstance(row, dict) else {}
        if unseen and (len(names) <= _SHOWN or not unseen.isdisjoint(row)):
            names |= dict.fromkeys(row)
            unseen.difference_update(row)
        yield number, tuple(map(row.get, columns.values())), carried(carry, row.get)
    if names:
        _check(manifest, columns, carry, list(names))


def _parquet(manifest: Opened, columns: Columns, carry: Sequence[str]) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with AsFile(manifest) as raw, pq.ParquetFile(raw) as table:
            _check(manifest, columns, (), table.schema_arrow.names)
            check_columns(manifest.place, carry, table.schema_arrow)
            batches = table.iter_batches(_AT_ONCE, columns=list(dict.fromkeys([*columns.values(), *carry])))
            rows = chain.from_iterable(_rows(batch, columns, carry) for batch in batches)
            yield from ((number, *row) for number, row in enumerate(rows, 1))
    except pa.ArrowException as error:
        raise ValueError(str(error)) from None


def _rows(
    batch: RecordBatch, columns: Columns, carry: Sequence[str]
) -> Iterator[tuple[tuple[object, ...], Carried]]:
    names = batch.schema.names
    values = (batch.column(names.index(name)).to_pylist() for name in columns.values())
    others = {name: batch.column(name) for name in carry}
    for at, found in enumerate(zip(*values, strict=True)):
        yield found, carried(carry, partial(_value, others, at))


def _value(columns: Mapping[str, Any], at: int, name: str) -> object:
    return python_value(columns[name][at])


def _check(manifest: Opened, columns: Columns, carry: Sequence[str], names: list[str]) -> None:
    """Refuse, with a `UsageError`, a manifest that has no columns of some names."""
    shown = ", ".join(names[:_SHOWN]) + (" and others" if len(names) > _SHOWN else "")
    wanted = [*((f"{key}: one of", column) for key, column in columns.items())]
    wanted += [("reader.carry: some of", column) for column in carry]
    for remedy, column in wanted:
        if column not in names:
            raise UsageError(f"{manifest.place} has no column {column!r}", f"{remedy} {shown}")
        if names.count(column) > 1:
            raise UsageError(f"{manifest.place} has the column {column!r} twice", "rename one of them")


_READERS: dict[str, Callable[[Opened, Columns, Sequence[str]], Iterator[Row]]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
EXTENSIONS = frozenset(_READERS)
"""Of manifests, lower case and with the dot."""
