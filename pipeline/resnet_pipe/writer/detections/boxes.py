"""What the writers of boxes have in common: shards of JSON Lines, of which one file is made at the end."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from resnet_pipe.head.rows import BOXES, LABELS
from resnet_pipe.model.detection import BACKGROUND
from resnet_pipe.writer.tables.jsonl import JsonlWriter, blocks_in, keys_in
from resnet_pipe.writer.tables.table import Block, ShardSection
from resnet_pipe.writer.writer import Target

if TYPE_CHECKING:
    import pyarrow as pa

_ENCODER = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"))
"""`json.dumps` would make one for each value."""
Row = dict[str, Any]
"""A line of a shard: the columns of a row by name."""


class BoxesSection(ShardSection):
    """What the sections of these writers have in common."""

    number_bytes: ClassVar = 12
    row_keys: ClassVar = staticmethod(keys_in)

    @property
    def fields(self) -> tuple[Literal["boxes"]]:
        """What is written of each row."""
        return ("boxes",)

    def open(self, target: Target) -> JsonlWriter:
        """Begin the shard of a chunk."""
        return JsonlWriter(target.shard(str(self.shard_suffix)))

    def blocks(self, target: Target, directory: Path) -> Iterator[Block]:
        """Yield the lines of a shard, each with the key of its source."""
        return blocks_in(target.shard(str(self.shard_suffix), directory))


class Categories(NamedTuple):
    """The classes as other tools number them: the first one that is an object is 1, and a background 0.

    Attributes:
        names: of the classes, by label.
        first: the number of label 0.
    """

    names: list[str]
    first: int

    @classmethod
    def of(cls, schema: pa.Schema) -> Categories:
        """Return the categories of rows by their columns."""
        # A name may be half of a surrogate pair, which no file can hold.
        given = json.loads(schema.field(BOXES[0]).metadata[LABELS])
        names = [name.encode(errors="replace").decode() for name in given]
        return cls(names, 0 if names[0] == BACKGROUND else 1)

    def number(self, label: int) -> int:
        """Return the number of a label."""
        return self.first + label

    def listed(self) -> dict[int, str]:
        """Return number -> name of all but the background, which is no category."""
        return {number: name for number, name in enumerate(self.names, self.first) if number}


def compact(value: object) -> str:
    """Return a value as JSON on one line."""
    return _ENCODER.encode(value)


class ListFile:
    """A JSON list that is being written, an entry a line; its text may begin and end in an object."""

    def __init__(self, file: IO[str], start: str = "[", end: str = "]") -> None:
        self._file = file
        self._end = end
        self._separator = "\n"
        file.write(start)

    def add(self, value: object) -> None:
        """Add an entry."""
        self.add_text([compact(value)])

    def add_text(self, parts: Iterable[str]) -> None:
        """Add an entry, given its JSON in parts."""
        self._file.write(self._separator)
        self._file.writelines(parts)
        self._separator = ",\n"

    def close(self) -> None:
        """End the list."""
        self._file.write(f"\n{self._end}\n")
