"""The rows of tables as sources: `train.parquet/000000017`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.listing import PassedOver, extension_of
from resnet_pipe.reader.opened import Opened
from resnet_pipe.reader.packed import Packed, list_packed, unpack
from resnet_pipe.reader.source import NOTHING, Carried, Source, version_of
from resnet_pipe.reader.tables.cursor import Cursor

EXTENSIONS = frozenset([".parquet"])
"""Of tables."""


@dataclass(frozen=True)
class Tables(Packed):
    """The rows of Parquet files, each with the bytes of an image file in a column.

    Rows are counted from 0, in nine digits, so that the order of the keys is that of the rows. Extensions are
    those that a row's image may have, if somebody asks. `carry` are other columns, which come with it.
    """

    column: str
    carry: tuple[str, ...] = ()

    def list_sources(self, passed_over: PassedOver | None = None) -> Iterator[Source]:
        """See `Files.list_sources`. A table that cannot be read is a source itself, by its own key.

        Raises:
            UsageError: a table has no such columns.
        """
        return list_packed(self.containers.list_sources(passed_over), self._rows)

    def _rows(self, table: Source) -> Iterator[Source]:
        try:
            opened = self.containers.open(table.key, listed=table)
            with closing(Cursor(opened, self.column, self.carry)) as cursor:
                groups = cursor.groups
        except SourceError:  # which reading it will tell
            yield table._replace(version=version_of(table.size, table.version, 0))
            return
        first = 0
        for group in groups:
            size = max(1, group.size // max(1, group.rows))
            for row in range(first, first + group.rows):
                version = version_of(table.size, table.version, row)
                yield Source(f"{table.key}/{row:09d}", size, version)
            first += group.rows

    def announce(self, key: str) -> None:
        """See `Files.announce`: nothing, as rows come one after the other."""

    def read(self, key: str, alive: Callable[[], None]) -> bytes:
        """See `Files.read`; what else it raises is in `Cursor.read`."""
        return _opened.read(self, key, alive)

    def carried(self, key: str, alive: Callable[[], None]) -> Carried:
        """See `Files.carried`."""
        return _opened.carried(self, key, alive) if self.carry else NOTHING

    def as_files(self, sources: Sequence[Source], folder: Path, alive: Callable[[], None]) -> list[Path]:
        """See `Files.as_files`."""
        with closing(_Opened()) as own:
            return unpack(sources, folder, lambda key: own.read(self, key, alive), extension_of)


class _Opened:
    """The table that a process has open, the last one that it has read."""

    def __init__(self) -> None:
        self._cursor: Cursor | None = None
        self._file: Opened | None = None
        self._of: tuple[object, ...] = ()

    def read(self, tables: Tables, key: str, alive: Callable[[], None]) -> bytes:
        """Return the bytes in a row."""
        cursor, row = self._at(tables, key, alive)
        return cursor.read(row, alive)

    def carried(self, tables: Tables, key: str, alive: Callable[[], None]) -> Carried:
        """Return what comes with the bytes in a row."""
        cursor, row = self._at(tables, key, alive)
        return cursor.carried(row, alive)

    def _at(self, tables: Tables, key: str, alive: Callable[[], None]) -> tuple[Cursor, int]:
        table, _, row = key.rpartition("/")
        of = (tables.containers, tables.column, tables.carry, table)
        if self._cursor is None or self._file is None or of != self._of or not self._file.is_current():
            self.close()
            holder = tables.containers.holder_of(key, alive)
            file = tables.containers.open(holder, alive)
            cursor = Cursor(file, tables.column, tables.carry, alive)
            if holder == key:
                cursor.close()
                raise SourceError("reader", "unreadable", "it could not be read when the sources were listed")
            self._cursor, self._file, self._of = cursor, file, of
        return self._cursor, int(row)

    def close(self) -> None:
        """Close the table that is open."""
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None


_opened = _Opened()
"""That of this process."""
