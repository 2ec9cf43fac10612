"""One column of a Parquet file, and what it carries, open, read best from its first row to its last."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any, NamedTuple

from resnet_pipe.errors import SourceError, UsageError
from resnet_pipe.reader import file
from resnet_pipe.reader.carried import carried, check_columns, python_value
from resnet_pipe.reader.opened import AsFile, Opened
from resnet_pipe.reader.source import Carried

_ROWS_AT_ONCE = 32
"""So many rows are made into values at a time; in memory is the page of the column that they are in."""
_MAX_ROWS = 999_999_999
"""Of a table: their numbers have nine digits."""
_BUFFER_BYTES = 1 << 20
"""Of a column that is read from the disk at a time."""


class RowGroup(NamedTuple):
    """How many rows there are, and how many bytes they take, with all columns, as the file says."""

    rows: int
    size: int


class Cursor:
    """Reads the values of a column one by one: bytes, or Hugging Face's `struct{bytes, path}`.

    Attributes:
        groups: the row groups, in order.
    """

    def __init__(
        self,
        opened: Opened,
        column: str,
        carry: tuple[str, ...] = (),
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        """Look into a file, and have it closed with this; `carry` are columns besides.

        Raises:
            SourceError: `unreadable`, or `damaged`: no Parquet, or cut off.
            UsageError: there are no such columns, or they hold something else.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._errors = (pa.ArrowException, OSError, ValueError)
        self._bytes = _Bytes(opened, alive)
        try:
            self._file = pq.ParquetFile(
                self._bytes, buffer_size=_BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True
            )
            self._column, self._carry = column, carry
            self._columns = list(dict.fromkeys((column, *carry)))
            _check(opened.place, column, self._file.schema_arrow)
            check_columns(opened.place, carry, self._file.schema_arrow)
            self.groups = _groups(self._file.metadata)
        except BaseException as error:
            self.close()
            if isinstance(error, self._errors):
                raise _told(error) from None
            raise
        self._starts = [0, *accumulate(group.rows for group in self.groups)]
        self._broken = dict[int, int]()
        """Row groups that could not be read to their ends -> the first row that could not."""
        self._batches: Iterator[Any] = iter(())
        self._group = -1
        self._first = 0
        self._rows: Any = []
        """Rows that are in memory, a record batch, and the number of the first one."""

    def read(self, row: int, alive: Callable[[], None]) -> bytes:
        """Return the bytes in a row, counted from 0; `alive` is called often on the way to it.

        Raises:
            SourceError: `missing`, `empty`, `damaged`, `too_large`, or `unsupported`: a path without bytes.
        """
        value = self._value(row, self._column, alive)
        if isinstance(value, dict):
            if value.get("bytes") is None and value.get("path"):
                raise SourceError("reader", "unsupported", "the row holds a path, and no bytes of an image")
            value = value.get("bytes")
        if value is None:
            raise SourceError("reader", "missing", "the row holds no image")
        if not value:
            raise SourceError("reader", "empty", "the row holds no bytes")
        return bytes(value)

    def carried(self, row: int, alive: Callable[[], None]) -> Carried:
        """Return what the other columns have in a row that was read last."""
        return carried(self._carry, lambda column: python_value(self._value(row, column, alive, scalar=True)))

    def _value(self, row: int, column: str, alive: Callable[[], None], scalar: bool = False) -> Any:  # noqa: ANN401 - of any column
        if not 0 <= row < self._starts[-1]:
            raise SourceError("reader", "missing", "no such row in the table")
        self._bytes.alive = alive
        group = bisect_right(self._starts, row) - 1
        if row >= self._broken.get(group, row + 1):
            raise SourceError("reader", "damaged", "the table is damaged before this row")
        try:
            if group != self._group or row < self._first:
                self._group, self._first, self._rows = group, self._starts[group], []
                self._batches = self._file.iter_batches(
                    _ROWS_AT_ONCE, row_groups=[group], columns=self._columns, use_threads=False
                )
            while row >= self._first + len(self._rows):
                alive()
                self._first += len(self._rows)
                self._rows = []
                self._rows = next(self._batches)
            value = self._rows.column(column)[row - self._first]
            return value if scalar else value.as_py()
        except MemoryError:
            self._group = -1
            raise SourceError("reader", "too_large", "not enough memory to read it") from None
        except (*self._errors, StopIteration) as error:
            self._group = -1
            told = _told(error)
            if not told.transient:
                self._broken[group] = self._first
            raise told from None

    def close(self) -> None:
        """Close the file."""
        self._bytes.close()


class _Bytes(AsFile):
    """A file as pyarrow reads it, which is not copied twice more, as Python's own `read` does."""

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes, fewer at the end."""
        wanted = self._opened.size if size < 0 else size
        data = self._opened.read_at(self._at, wanted, self.alive)
        self._opened.let_go(self._at, len(data))
        self._at += len(data)
        return data


def _told(error: Exception) -> SourceError:
    if isinstance(error, OSError) and error.errno:  # of the disk, and not of pyarrow
        return file.refusal(error)
    return SourceError("reader", "damaged", " ".join(str(error).split()) or "the table ends too early")


def _check(place: str, column: str, schema: Any) -> None:  # noqa: ANN401 - a pyarrow.Schema
    """Refuse, with a `UsageError`, a table whose column does not hold bytes."""
    names = schema.names
    fitting = [field.name for field in schema if _holds_images(field.type) and names.count(field.name) == 1]
    if column in fitting:
        return
    found = "is not there"
    if column in names:
        types = (str(schema.field(at).type) for at in schema.get_all_field_indices(column))
        found = f"is {' and '.join(types)}"
    remedy = "choose tables that have image files in a column"
    if fitting:
        remedy = f"reader.column: {' or '.join(fitting)}"
    raise UsageError(f"{place}: the column {column!r} {found}; wanted are bytes of image files", remedy)


def _holds_images(kind: Any) -> bool:  # noqa: ANN401 - a pyarrow.DataType
    import pyarrow as pa

    kinds = [one.type for one in kind if one.name == "bytes"] if pa.types.is_struct(kind) else [kind]
    return [pa.types.is_binary(one) or pa.types.is_large_binary(one) for one in kinds] == [True]


def _groups(metadata: Any) -> list[RowGroup]:  # noqa: ANN401 - a pyarrow.parquet.FileMetaData
    """Return the row groups. Columns are not asked for: of a damaged file, they may end the process."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    found = [RowGroup(group.num_rows, group.total_byte_size) for group in groups]
    if min((group.rows for group in found), default=0) < 0 or sum(group.rows for group in found) > _MAX_ROWS:
        raise SourceError(
            "reader", "damaged", f"it claims a number of rows that is not from 0 to {_MAX_ROWS}"
        )
    return found
