"""What a manifest says in some of its columns: CSV, TSV, JSONL or Parquet, told by the extension."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from io import BufferedReader, TextIOWrapper
from itertools import chain
from typing import TYPE_CHECKING

from resnet_pipe.errors import RunError, SourceError, UsageError
from resnet_pipe.reader.files import Containers
from resnet_pipe.reader.listing import extension_of
from resnet_pipe.reader.opened import AsFile, Opened

if TYPE_CHECKING:
    from pyarrow import RecordBatch

Row = tuple[int, tuple[object, ...]]
"""Its number, as a spreadsheet or an editor shows it, and its value in each column; None if it has none."""
Columns = Mapping[str, str]
"""Names of columns, by the keys of the job that say them."""
_REMEDY = "repair it, or make it again: CSV, TSV, JSONL (UTF-8) or Parquet, told by the extension"
_LONGEST_LINE = 1 << 20
"""Characters of a line that ends."""
_SHOWN = 10
"""So many names of columns are listed."""


def read_rows(lists: Containers, manifest: str, columns: Columns) -> Iterator[Row]:
    """Yield the rows of a manifest of a key, with their values in the order of the columns.

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
            yield from read(opened, columns)
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


def _csv(manifest: Opened, columns: Columns, delimiter: str = ",") -> Iterator[Row]:
    rows = csv.reader(_lines(manifest), delimiter=delimiter, strict=True)
    header = next(rows, None)
    if not header:
        raise RunError(
            f"{manifest.place} begins with an empty line", "begin it with the names of its columns"
        )
    places = _places(manifest, columns, header)
    for number, values in enumerate(rows, 2):
        if values:  # no empty line
            yield number, tuple(values[at] if at < len(values) else None for at in places)


def _tsv(manifest: Opened, columns: Columns) -> Iterator[Row]:
    return _csv(manifest, columns, "\t")


def _jsonl(manifest: Opened, columns: Columns) -> Iterator[Row]:
    names: dict[str, None] = {}
    unseen = set(columns.values())
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
        yield number, tuple(map(row.get, columns.values()))
    if names:
        _places(manifest, columns, list(names))


def _parquet(manifest: Opened, columns: Columns) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with AsFile(manifest) as raw, pq.ParquetFile(raw) as table:
            _places(manifest, columns, table.schema_arrow.names)
            batches = table.iter_batches(columns=list(dict.fromkeys(columns.values())))
            yield from enumerate(chain.from_iterable(_values(batch, columns) for batch in batches), 1)
    except pa.ArrowException as error:
        raise ValueError(str(error)) from None


def _values(batch: RecordBatch, columns: Columns) -> Iterator[tuple[object, ...]]:
    names = batch.schema.names
    return zip(*(batch.column(names.index(name)).to_pylist() for name in columns.values()), strict=True)


def _places(manifest: Opened, columns: Columns, names: list[str]) -> list[int]:
    """Return where columns are, of those of a manifest; a `UsageError` if there is none of one name."""
    for key, column in columns.items():
        if column not in names:
            shown = ", ".join(names[:_SHOWN]) + (" and others" if len(names) > _SHOWN else "")
            raise UsageError(f"{manifest.place} has no column {column!r}", f"{key}: one of {shown}")
    return [names.index(column) for column in columns.values()]


_READERS: dict[str, Callable[[Opened, Columns], Iterator[Row]]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
EXTENSIONS = frozenset(_READERS)
"""Of manifests, lower case and with the dot."""
