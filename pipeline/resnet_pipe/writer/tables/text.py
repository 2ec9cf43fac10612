"""What the line-based writers, csv and jsonl, have in common: numbers as the shortest exact text."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_pipe.head.rows import as_numpy
from resnet_pipe.writer.tables.table import TableWriter

if TYPE_CHECKING:
    import pyarrow as pa


class TextWriter(TableWriter):
    """A shard of lines that is being written."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")

    def discard(self) -> None:
        """Release the file."""
        self._file.close()


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
