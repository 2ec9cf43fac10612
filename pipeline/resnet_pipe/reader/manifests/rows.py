"""What a manifest says in its column of paths and in others: CSV, TSV, JSONL or Parquet, by the extension."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from io import BufferedReader, TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import Any

from resnet_pipe.errors import RunError, SourceError, UsageError
from resnet_pipe.reader import file
from resnet_pipe.reader.carried import MAX_BYTES, carried, check_columns, python_value
from resnet_pipe.reader.listing import extension_of
from resnet_pipe.reader.source import Carried

Row = tuple[int, object, Carried]
"""Its number, as a spreadsheet or an editor shows it, its value in the column, None if it has none, and what
it has in the columns that are carried."""
_REMEDY = "repair it, or make it again: CSV, TSV, JSONL (UTF-8) or Parquet, told by the extension"
_LONGEST_LINE = 1 << 20
"""Characters of a line that ends."""
_SHOWN = 10
"""So many names of columns are listed."""
_AT_ONCE = 4096
"""Rows of a Parquet file that are in memory."""
_CARRY = "reader.carry: some of"


def read_rows(manifest: Path, column: str, carry: Sequence[str] = ()) -> Iterator[Row]:
    """Yield the rows of a manifest; `carry` are the columns that are carried.

    Rows are counted from 1; the header of CSV is the first one.

    Raises:
        RunError: the file cannot be read to its end: to leave out rows would lose sources.
        UsageError: it has no such columns.
    """
    read = _READERS.get(extension_of(manifest.name))
    if read is None:
        names = " ".join(sorted(EXTENSIONS))
        raise RunError(f"{manifest}: the extension does not tell what it is", f"rename it: {names}")
    try:
        yield from read(manifest, column, carry)
    except SourceError as error:
        raise RunError(f"{manifest} cannot be read: {error.message}", _REMEDY) from None
    except OSError as error:
        raise RunError(f"{manifest} cannot be read: {error.strerror or error}", _REMEDY) from None
    except (ValueError, csv.Error, MemoryError) as error:  # those of pyarrow and of UTF-8 are ValueErrors
        raise RunError(f"{manifest} cannot be read: {' '.join(str(error).split())}", _REMEDY) from None


def _lines(manifest: Path) -> Iterator[str]:
    """Yield the lines of a file with their ends."""
    with file.open_file(manifest) as raw, TextIOWrapper(BufferedReader(raw), "utf-8-sig", newline="") as text:  # type: ignore[type-var]
        while line := text.readline(_LONGEST_LINE):
            if len(line) == _LONGEST_LINE:
                raise ValueError(f"a line has more than {_LONGEST_LINE} characters")
            yield line


def _csv(manifest: Path, column: str, carry: Sequence[str], delimiter: str = ",") -> Iterator[Row]:
    if carry:  # without being told, Python reads 128 KiB of a value
        csv.field_size_limit(max(csv.field_size_limit(), 2 * MAX_BYTES))
    rows = csv.reader(_lines(manifest), delimiter=delimiter, strict=True)
    header = next(rows, None)
    if not header:
        raise RunError(f"{manifest} begins with an empty line", "begin it with the names of its columns")
    at = _index(manifest, column, header)
    places = [(name, _index(manifest, name, header, _CARRY)) for name in carry]
    for number, values in enumerate(rows, 2):
        if values:  # no empty line
            told = {name: values[place] for name, place in places if place < len(values)} if carry else {}
            yield number, values[at] if at < len(values) else None, carried(carry, told.get)


def _tsv(manifest: Path, column: str, carry: Sequence[str]) -> Iterator[Row]:
    return _csv(manifest, column, carry, "\t")


def _jsonl(manifest: Path, column: str, carry: Sequence[str]) -> Iterator[Row]:
    names: dict[str, None] = {}
    for number, line in enumerate(_lines(manifest), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RunError(f"{manifest}, line {number}, is not JSON: {error}", _REMEDY) from None
        told = row if isinstance(row, dict) else {}
        missing = [name for name in (column, *carry) if name not in names]
        if missing and (len(names) <= _SHOWN or not told.keys().isdisjoint(missing)):
            names |= dict.fromkeys(told)
        yield number, told.get(column), carried(carry, told.get)
    if names:
        _index(manifest, column, list(names))
        for name in carry:
            _index(manifest, name, list(names), _CARRY)


def _parquet(manifest: Path, column: str, carry: Sequence[str]) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with file.open_file(manifest) as raw, pq.ParquetFile(raw) as table:
            _index(manifest, column, table.schema_arrow.names)
            check_columns(manifest, carry, table.schema_arrow)
            batches = table.iter_batches(_AT_ONCE, columns=list(dict.fromkeys([column, *carry])))
            rows = chain.from_iterable(_rows(batch, column, carry) for batch in batches)
            yield from ((number, *row) for number, row in enumerate(rows, 1))
    except pa.ArrowException as error:
        raise ValueError(str(error)) from None


def _rows(batch: Any, column: str, carry: Sequence[str]) -> Iterator[tuple[object, Carried]]:  # noqa: ANN401 - a pyarrow.RecordBatch
    paths = batch.column(batch.schema.names.index(column)).to_pylist()
    others = {name: batch.column(name) for name in carry}
    for at, path in enumerate(paths):
        yield path, carried(carry, partial(_value, others, at))


def _value(columns: Mapping[str, Any], at: int, name: str) -> object:
    return python_value(columns[name][at])


def _index(manifest: Path, column: str, names: list[str], remedy: str = "reader.column: one of") -> int:
    """Return where a column is, of those of a manifest; a `UsageError` if there is none of that name."""
    if column in names:
        return names.index(column)
    shown = ", ".join(names[:_SHOWN]) + (" and others" if len(names) > _SHOWN else "")
    raise UsageError(f"{manifest} has no column {column!r}", f"{remedy} {shown}")


_READERS: dict[str, Callable[[Path, str, Sequence[str]], Iterator[Row]]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
EXTENSIONS = frozenset(_READERS)
"""Of manifests, lower case and with the dot."""
