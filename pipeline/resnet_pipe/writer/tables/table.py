"""What the writers of tables have in common: their section, how shards are merged, and numbers as text."""

from __future__ import annotations

import heapq
from abc import abstractmethod
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from resnet_pipe.head.rows import BOXES, as_numpy, box_type, place_schema
from resnet_pipe.writer.writer import Portion, Target, Writer, WriterSection, Written

if TYPE_CHECKING:
    import pyarrow as pa

Block = tuple[str, Any]
"""The key of a source, and consecutive rows of it in the form that the format copies them in."""


class ShardSection(WriterSection):
    """What the sections of writers have in common that make one shard of a chunk, or two."""

    @abstractmethod
    def blocks(self, target: Target, directory: Path) -> Iterator[Block]:
        """Yield all rows of the target's shard in another directory, in order and in little memory."""

    def merge(self, target: Target, portions: Sequence[Portion]) -> None:
        """Write a chunk's shard from the rows of others.

        They are copied as their format has them, not by way of Arrow: to parse and print numbers again would
        take eight times as long, and one whose text is almost in the middle between two float32 could come
        back as the wrong one of them.
        """
        merged: Any = self.open(target)  # what has blocks is opened as a `TableWriter`
        kept = [_without(self.blocks(target, directory), drop) for directory, drop in portions]
        for _, rows in heapq.merge(*kept, key=itemgetter(0)):
            merged.copy(rows)
        merged.close()


class TableSection(ShardSection):
    """What the sections of the writers of tables have in common."""

    aggregate: Annotated[
        Literal["none", "mean", "max"],
        Field(description="one row per source: the mean or the maximum over its frames"),
    ] = "none"

    @property
    def over_frames(self) -> Literal["mean", "max"] | None:
        """How the frames of a source become one row; None if each is one."""
        return None if self.aggregate == "none" else self.aggregate


def _without(blocks: Iterator[Block], drop: Collection[str]) -> Iterator[Block]:
    return (block for block in blocks if block[0] not in drop)


class TableWriter(Writer):
    """A shard that is being written."""

    def close(self) -> Written:
        """Complete the file."""
        self.discard()
        return Written()

    @abstractmethod
    def copy(self, rows: Any) -> None:  # noqa: ANN401 - in the form of the format
        """Add the rows of a block after those already there."""


class TextWriter(TableWriter):
    """A shard of lines that is being written, in CSV or JSON."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")

    def discard(self) -> None:
        """Release the file."""
        self._file.close()


def types_in_text() -> dict[str, pa.DataType]:
    """Return the types of columns of shards of text whose values need not tell them: there may be none yet.

    Those of boxes are in JSON Lines a list, and in CSV a column each.
    """
    import pyarrow as pa

    found, *size = BOXES
    box = box_type()
    places = {field.name: field.type for field in place_schema()}
    return {
        **places,
        found: pa.list_(box),
        **dict.fromkeys(size, pa.int32()),
        **{m.name: m.type for m in box},
    }


def python_values(column: pa.Array) -> list[Any]:
    """Return the values of a column, with floats whose shortest text, read as float32, gives the same bits.

    `float(np.float32(0.1))` prints 0.10000000149011612: digits that the network never gave. The shortest text
    of the float32 itself is 0.1, so each value goes through it once.
    """
    from pyarrow import types

    kind = column.type
    if types.is_float32(kind):
        return [float(text) for text in as_numpy(column).astype(str).tolist()]
    if types.is_fixed_size_list(kind):
        values, width = python_values(column.flatten()), kind.list_size
        return [values[start : start + width] for start in range(0, len(values), width)]
    if types.is_list(kind):
        values, offsets = python_values(column.flatten()), column.offsets.to_pylist()
        return [values[start - offsets[0] : end - offsets[0]] for start, end in pairwise(offsets)]
    if types.is_struct(kind):
        names = [field.name for field in kind]
        members = map(python_values, column.flatten())
        return [dict(zip(names, values, strict=True)) for values in zip(*members, strict=True)]
    return list(column.to_pylist())
