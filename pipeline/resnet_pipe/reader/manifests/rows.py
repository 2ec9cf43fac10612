"""What a manifest says in one of its columns: CSV, TSV, JSONL or Parquet, told by the extension."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from io import BufferedReader, TextIOWrapper
from itertools import chain

from resnet_pipe.errors import RunError, SourceError, UsageError
from resnet_pipe.reader.files import Containers
from resnet_pipe.reader.listing import extension_of
from resnet_pipe.reader.opened import AsFile, Opened

Row = tuple[int, object]
"""Its number, as a spreadsheet or an editor shows it, and its value in the column; None if it has none."""
_REMEDY = "repair it, or make it again: CSV, TSV, JSONL (UTF-8) or Parquet, told by the extension"
_LONGEST_LINE = 1 << 20
"""Characters of a line that ends."""
_SHOWN = 10
"""So many names of columns are listed."""


def read_rows(lists: Containers, manifest: str, column: str) -> Iterator[Row]:
    """Yield the rows of a manifest of a key.

    Rows are counted from 1; the header of CSV is the first one.

    Raises:
        RunError: the file cannot be read to its end: to leave out rows would lose sources.
        UsageError: it has no such column.
    """
    place = f"{lists.root}/{manifest}"
    read = _READERS.get(extension_of(manifest))
    if read is None:
        names = " ".join(sorted(EXTENSIONS))
        raise RunError(f"{place}: the extension does not tell what it is", f"rename it: {names}")
    try:
        with closing(lists.open(manifest)) as opened:
            yield from read(opened, column)
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


def _csv(manifest: Opened, column: str, delimiter: str = ",") -> Iterator[Row]:
    rows = csv.reader(_lines(manifest), delimiter=delimiter, strict=True)
    header = next(rows, None)
    if not header:
        raise RunError(
            f"{manifest.place} begins with an empty line", "begin it with the names of its columns"
        )
    at = _index(manifest, column, header)
    for number, values in enumerate(rows, 2):
        if values:  # no empty line
            yield number, values[at] if at < len(values) else None


def _tsv(manifest: Opened, column: str) -> Iterator[Row]:
    return _csv(manifest, column, "\t")


def _jsonl(manifest: Opened, column: str) -> Iterator[Row]:
    names: dict[str, None] = {}
    for number, line in enumerate(_lines(manifest), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RunError(f"{manifest.place}, line {number}, is not JSON: {error}", _REMEDY) from None
        if isinstance(row, dict) and column not in names and (column in row or len(names) <= _SHOWN):
            names |= dict.fromkeys(row)
        yield number, row.get(column) if isinstance(row, dict) else None
    if names:
        _index(manifest, column, list(names))


def _parquet(manifest: Opened, column: str) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with AsFile(manifest) as raw, pq.ParquetFile(raw) as table:
            _index(manifest, column, table.schema_arrow.names)
            batches = table.iter_batches(columns=[column])
            yield from enumerate(chain.from_iterable(batch.column(0).to_pylist() for batch in batches), 1)
    except pa.ArrowException as error:
        raise ValueError(str(error)) from None


def _index(manifest: Opened, column: str, names: list[str]) -> int:
    """Return where a column is, of those of a manifest; a `UsageError` if there is none of that name."""
    if column in names:
        return names.index(column)
    shown = ", ".join(names[:_SHOWN]) + (" and others" if len(names) > _SHOWN else "")
    raise UsageError(f"{manifest.place} has no column {column!r}", f"reader.column: one of {shown}")


_READERS: dict[str, Callable[[Opened, str], Iterator[Row]]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
EXTENSIONS = frozenset(_READERS)
"""Of manifests, lower case and with the dot."""
