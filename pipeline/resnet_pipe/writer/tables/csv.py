"""CSV shards (RFC 4180, UTF-8, a header line): labels, scores and boxes for spreadsheets.

File names and labels must not become formulas there. What OWASP says of CSV injection: a cell that begins
with one of some signs gets a single quote before it, and is text then. So does one that begins with a quote
already: whoever takes one quote away has what was meant.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from resnet_pipe.head.rows import BOXES, ENTRIES, ONE, PLACE, is_carried
from resnet_pipe.writer.tables.table import Block, TableSection, TextWriter, python_values
from resnet_pipe.writer.writer import RowKey, Target

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIX = ".csv"
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What may begin a formula; the last four are the full-width forms of the first four."""
_QUOTED = ("'", *_FORMULA)
_LONGEST_CELL = 2 << 20
"""Characters; what a source carries may be a text of 1 MiB. Without being told, Python reads 128 KiB."""
_FOUND, *_SIZE = BOXES
_BOX = ("x1", "y1", "x2", "y2", "score", "label", "name")
"""The columns of one box, empty for an item without any."""
_OF_BOXES = [*PLACE, *_SIZE, *_BOX]
"""The columns of a file of boxes; what its sources carry comes after them."""
_OF_LISTS = re.compile(r"(logit|index|label|score)_\d+")
"""The columns that it makes of lists."""


def to_cell(text: str | None) -> str:
    """Return the cell of a text; it is empty for None. Numbers are none: a minus sign is theirs."""
    text = text or ""
    return f"'{text}" if text.startswith(_QUOTED) else text


def from_cell(cell: str) -> str:
    """Return the text of a cell; one from before cells were quoted is its own, unless it looks quoted."""
    return cell[1:] if cell.startswith("'") and cell.startswith(_QUOTED, 1) else cell


def lines_in(path: Path) -> Iterator[list[str]]:
    """Yield the cells of each line of a CSV file, without those of its header."""
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        next(lines)
        yield from lines


def keys_in(path: Path) -> Iterator[RowKey]:
    """Yield the source and the frame of each row of a file whose first columns they are.

    A row is a line, or, in a file of boxes, all lines of an item.
    """
    keys = ((from_cell(line[0]), int(line[1]) if line[1] else None) for line in lines_in(path))
    yield from (key for key, _ in groupby(keys)) if _has_boxes(path) else keys


def _has_boxes(path: Path) -> bool:
    with path.open(encoding="utf-8", newline="") as file:
        columns = next(csv.reader(file))
    return columns[: len(_OF_BOXES)] == _OF_BOXES


class CsvSection(TableSection):
    """One CSV file for each chunk. Features do not fit in a spreadsheet: use parquet or jsonl for them."""

    shard_suffix: ClassVar = SUFFIX
    dataset_format: ClassVar = "csv"
    number_bytes: ClassVar = 12
    row_keys: ClassVar = staticmethod(keys_in)

    kind: Literal["csv"]
    fields: Annotated[
        tuple[Literal["logits", "top_k", "boxes"], ...],
        Field(
            min_length=1,
            description="columns besides path, frame_index and pts_s; of boxes, each has a line",
        ),
    ] = ("top_k",)

    def has_column(self, name: str) -> bool:
        """See `WriterSection.has_column`."""
        return name in _BOX if "boxes" in self.fields else _OF_LISTS.fullmatch(name) is not None

    def open(self, target: Target) -> CsvWriter:
        """Begin the shard of a chunk."""
        writer = BoxesCsvWriter if _FOUND in target.schema.names else CsvWriter
        return writer(target.shard(SUFFIX), target.schema)

    def blocks(self, target: Target, directory: Path) -> Iterator[Block]:
        """Yield the lines of a shard, each with the key of its source, and what their cells mean."""
        texts = _texts(target.schema)
        for line in lines_in(target.shard(SUFFIX, directory)):
            for column in texts:
                line[column] = from_cell(line[column])
            yield line[0], line


class CsvWriter(TextWriter):
    """A shard that is being written: lists are columns logit_0.. and index_1, label_1, score_1, ..."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        super().__init__(path)
        self._texts = _texts(schema)
        self._csv = csv.writer(self._file)
        self._csv.writerow(name for name, _ in _columns(schema))

    def append(self, batch: pa.RecordBatch) -> None:
        """Add rows after those already there."""
        for row in zip(*map(python_values, batch.columns), strict=True):
            self.copy([cell for value in row for cell in _flat(value)])

    def copy(self, rows: list[Any]) -> None:
        """Add a line, given what its cells mean."""
        for column in self._texts:
            rows[column] = to_cell(rows[column])
        self._csv.writerow(rows)


class BoxesCsvWriter(CsvWriter):
    """A shard of boxes that is being written, a line for each; an item without boxes has a line, too."""

    def append(self, batch: pa.RecordBatch) -> None:
        """Add rows after those already there."""
        names = [*PLACE, *_SIZE, _FOUND, *(field.name for field in batch.schema if is_carried(field))]
        place = slice(len(PLACE) + len(_SIZE))
        for row in zip(*(python_values(batch.column(name)) for name in names), strict=True):
            boxes, *carried = row[place.stop :]
            for box in boxes or [dict.fromkeys(_BOX, "")]:
                self.copy([*row[place], *(box[member] for member in _BOX), *carried])


def _flat(value: Any) -> list[Any]:  # noqa: ANN401 - of any column
    if not isinstance(value, list):
        return [value]
    if value and isinstance(value[0], dict):
        return [member for entry in value for member in entry.values()]
    return value


def _columns(schema: pa.Schema) -> Iterator[tuple[str, bool]]:
    """Yield the columns of a file, and whether each holds text."""
    from pyarrow import types

    if _FOUND in schema.names:
        yield from ((name, name in ("path", "name")) for name in _OF_BOXES)
        yield from ((field.name, True) for field in schema if is_carried(field))
        return
    for field in schema:
        if types.is_fixed_size_list(field.type):
            one = field.metadata[ONE].decode()
            yield from ((f"{one}_{index}", False) for index in range(field.type.list_size))
        elif types.is_list(field.type):
            for rank in range(1, int(field.metadata[ENTRIES]) + 1):
                for member in field.type.value_type:
                    yield f"{member.name}_{rank}", types.is_string(member.type)
        else:
            yield field.name, types.is_string(field.type)


def _texts(schema: pa.Schema) -> list[int]:
    return [number for number, (_, is_text) in enumerate(_columns(schema)) if is_text]
