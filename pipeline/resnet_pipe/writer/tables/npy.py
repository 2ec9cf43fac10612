"""NumPy arrays: one for each source, as tools for video expect, or one matrix a chunk to map into memory."""

from __future__ import annotations

import csv
import heapq
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from resnet_pipe.store import atomic
from resnet_pipe.writer.annotated.names import mirrored
from resnet_pipe.writer.rows import Rows, TableSection
from resnet_pipe.writer.tables.cells import from_cell, to_cell
from resnet_pipe.writer.writer import Part, Target, Written

SUFFIX = ".npy"
INDEX_SUFFIX = ".index.csv"
FOLDER = "npy"

_FRAME_COLUMNS = ("frame_index", "pts_s")
_COLUMNS = ("path", *_FRAME_COLUMNS)
_DTYPE = np.dtype("<f4")
_BLOCK_ROWS = 4096


class NpySection(TableSection):
    """NumPy arrays of float32, each with a CSV file that maps rows to frames."""

    kind: Literal["npy"]
    field: Annotated[Literal["features", "logits"], Field(description="which output the arrays hold")] = (
        "features"
    )
    layout: Annotated[
        Literal["per_source", "matrix"],
        Field(
            description="per_source: an array of shape (frames, width) for each source, npy/PATH.npy; "
            "matrix: one for each chunk, which np.load(..., mmap_mode='r') maps into memory"
        ),
    ] = "per_source"

    @property
    def fields(self) -> tuple[Literal["features", "logits"], ...]:
        """What is written of each row."""
        return (self.field,)


def open_shard(target: Target) -> MatrixShard | ArraysShard:
    """Begin a shard; see `writer.writer.open_shard`."""
    return MatrixShard(target) if target.section.layout == "matrix" else ArraysShard(target)


class MatrixShard:
    """One array for all sources of a chunk.

    Args:
        target: whose section is an `NpySection`.
    """

    def __init__(self, target: Target) -> None:
        self._field = target.section.field
        self._array = _Array(target.shard(SUFFIX), target.shard(INDEX_SUFFIX), _width(target), _COLUMNS)

    def append(self, rows: Rows) -> None:
        """Add rows after those already there."""
        index = zip(map(to_cell, rows.path), rows.frame_index, rows.pts_s, strict=True)
        self._array.append(_values(rows, self._field), index)

    def close(self) -> Written:
        """Complete the files."""
        self._array.close()
        return Written()

    def discard(self) -> None:
        """Release the files."""
        self._array.close()


class ArraysShard:
    """One array for each source.

    Args:
        target: whose section is an `NpySection`.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._files: dict[str, tuple[Path, Path]] = {}
        self._array: _Array | None = None
        """Of the last of these sources."""

    def append(self, rows: Rows) -> None:
        """Add rows after those already there."""
        values = _values(rows, self._target.section.field)
        for key, part in rows.by_source():
            if self._array is None or key not in self._files:
                self._end()
                self._array = self._begin(key)
            index = zip(rows.frame_index[part], rows.pts_s[part], strict=True)
            self._array.append(values[part], index)

    def close(self) -> Written:
        """Complete the files."""
        self._end()
        return Written(files=self._files)

    def discard(self) -> None:
        """Release the files of the last source."""
        self._end()

    def _begin(self, key: str) -> _Array:
        self._files[key] = mirrored(FOLDER, key, SUFFIX), mirrored(FOLDER, key, ".csv")
        path, index = (self._target.directory / file for file in self._files[key])
        atomic.make_folder(path.parent, self._target.directory)
        return _Array(path, index, _width(self._target), _FRAME_COLUMNS)

    def _end(self) -> None:
        if self._array is not None:
            self._array.close()


class _Array:
    """An array and its index, written row by row.

    Args:
        path: of the array.
        index: path of its index.
        width: of a row.
        columns: of the index.
    """

    def __init__(self, path: Path, index: Path, width: int, columns: Sequence[str]) -> None:
        self._width = width
        self._count = 0
        self._file = path.open("wb")
        self._write_header()
        self._index = index.open("w", encoding="utf-8", newline="")
        self._csv = csv.writer(self._index)
        self._csv.writerow(columns)

    def append(self, values: NDArray[np.float32], index: Iterable[Sequence[object]]) -> None:
        """Add rows.

        Args:
            values: shape (rows, width).
            index: a line for each.
        """
        self._file.write(values.astype(_DTYPE, copy=False).tobytes())
        self._csv.writerows(index)
        self._count += len(values)

    def close(self) -> None:
        """Complete both files."""
        self._file.seek(0)
        self._write_header()
        self._file.close()
        self._index.close()

    def _write_header(self) -> None:
        # NumPy leaves so much room that the header is as long for any number of rows.
        shape = (self._count, self._width)
        header = {"descr": _DTYPE.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)


class _Block(NamedTuple):
    """Consecutive rows of a matrix, all of one source.

    Attributes:
        path: the key of the source.
        values: float32, shape (rows, width).
        lines: of the index.
    """

    path: str
    values: NDArray[np.float32]
    lines: list[list[str]]


def merge(target: Target, parts: Sequence[Part]) -> None:
    """Write a matrix from the rows of others; see `writer.writer.merge`."""
    if target.section.layout == "per_source":
        return
    merged = _Array(target.shard(SUFFIX), target.shard(INDEX_SUFFIX), _width(target), _COLUMNS)
    for block in heapq.merge(*(_blocks(target, *part) for part in parts), key=itemgetter(0)):
        merged.append(block.values, block.lines)
    merged.close()


def _blocks(target: Target, directory: Path, drop: Collection[str]) -> Iterator[_Block]:
    matrix = np.load(target.shard(SUFFIX, directory), mmap_mode="r")
    with target.shard(INDEX_SUFFIX, directory).open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        next(lines)
        start = 0
        for path, group in groupby(lines, key=lambda line: from_cell(line[0])):
            while some := [[to_cell(path), *frame] for _, *frame in islice(group, _BLOCK_ROWS)]:
                if path not in drop:
                    yield _Block(path, matrix[start : start + len(some)], some)
                start += len(some)


def _width(target: Target) -> int:
    layout = target.layout
    return layout.features if target.section.field == "features" else layout.logits


def _values(rows: Rows, field: Literal["features", "logits"]) -> NDArray[np.float32]:
    values = rows.features if field == "features" else rows.logits
    assert values is not None  # noqa: S101 - the layout promised it
    return values
