"""NumPy arrays: one for each source, as tools for video expect, or one matrix a chunk to map into memory."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from resnet_pipe.head.rows import PLACE, by_source, is_carried, matrix
from resnet_pipe.store import atomic
from resnet_pipe.writer.annotated.names import mirrored
from resnet_pipe.writer.tables.csv import from_cell, keys_in, lines_in, to_cell
from resnet_pipe.writer.tables.table import Block, TableSection, TableWriter
from resnet_pipe.writer.writer import Portion, RowKey, Target, Writer, Written

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIX = ".npy"
INDEX_SUFFIX = ".index.csv"

_SUFFIXES = (SUFFIX, ".csv")
_DTYPE = np.dtype("<f4")
_BLOCK_ROWS = 4096


def _of_fixed_width(value: object) -> object:
    if value == "boxes":
        raise ValueError(
            "arrays have a fixed width, and the number of boxes differs from item to item: write boxes with a"
            " writer of kind parquet, jsonl, csv, coco or megadetector"
        )
    return value


class NpySection(TableSection):
    """NumPy arrays of float32, each with a CSV file that maps rows to frames."""

    suffixes: ClassVar = _SUFFIXES
    shard_suffix: ClassVar = INDEX_SUFFIX
    fields_key: ClassVar = "field"
    row_keys: ClassVar = staticmethod(keys_in)

    kind: Literal["npy"]
    field: Annotated[
        Literal["features", "logits"],
        BeforeValidator(_of_fixed_width),
        Field(description="which output the arrays hold"),
    ] = "features"
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

    def open(self, target: Target) -> Writer:
        """Begin the arrays of a chunk."""
        return MatrixWriter(target) if self.layout == "matrix" else ArraysWriter(target)

    def merge(self, target: Target, portions: Sequence[Portion]) -> None:
        """Write a matrix from the rows of others; arrays of single sources are no shard."""
        if self.layout == "matrix":
            super().merge(target, portions)

    def blocks(self, target: Target, directory: Path) -> Iterator[Block]:
        """Yield the rows of a matrix, float32, shape (rows, width), with the lines of its index."""
        values = np.load(target.shard(SUFFIX, directory), mmap_mode="r")
        lines = lines_in(target.shard(INDEX_SUFFIX, directory))
        start = 0
        for path, group in groupby(lines, key=lambda line: from_cell(line[0])):
            while some := [[to_cell(path), *frame] for _, *frame in islice(group, _BLOCK_ROWS)]:
                yield path, (values[start : start + len(some)], some)
                start += len(some)


class MatrixWriter(TableWriter):
    """One array for all sources of a chunk, whose rows have one column of a fixed number of float32."""

    def __init__(self, target: Target) -> None:
        self._array = _Array(target.shard(SUFFIX), target.shard(INDEX_SUFFIX), target.schema, PLACE)

    def append(self, batch: pa.RecordBatch) -> None:
        """Add rows after those already there."""
        self.copy((matrix(batch.column(len(PLACE))), _lines(batch, PLACE)))

    def copy(self, rows: tuple[NDArray[np.float32], Iterable[Sequence[object]]]) -> None:
        """Add values, and the lines of the index for them."""
        self._array.append(*rows)

    def discard(self) -> None:
        """Release the files."""
        self._array.close()


class ArraysWriter(Writer):
    """One array for each source, whose rows have one column of a fixed number of float32."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._files: dict[str, tuple[Path, Path]] = {}
        self._array: _Array | None = None
        """Of the last of these sources."""

    def append(self, batch: pa.RecordBatch) -> None:
        """Add rows after those already there."""
        for key, rows in by_source(batch):
            if self._array is None or key not in self._files:
                self.discard()
                self._array = self._begin(key)
            self._array.append(matrix(rows.column(len(PLACE))), _lines(rows, PLACE[1:]))

    def close(self) -> Written:
        """Complete the files."""
        self.discard()
        return Written(files=self._files)

    def discard(self) -> None:
        """Release the files of the last source, which are complete as far as there are rows."""
        if self._array is not None:
            self._array.close()

    def _begin(self, key: str) -> _Array:
        array, index = (mirrored("npy", key, suffix, _SUFFIXES) for suffix in _SUFFIXES)
        self._files[key] = array, index
        directory = self._target.directory
        atomic.make_folder((directory / array).parent, directory)
        return _Array(directory / array, directory / index, self._target.schema, PLACE[1:])


class _Array:
    """An array and its index, with some columns of the rows, and what their sources carry; row by row."""

    def __init__(self, path: Path, index: Path, schema: pa.Schema, columns: Sequence[str]) -> None:
        self._width = schema[len(PLACE)].type.list_size
        self._count = 0
        self._file = path.open("wb")
        self._write_header()
        self._index = index.open("w", encoding="utf-8", newline="")
        self._csv = csv.writer(self._index)
        self._csv.writerow([*columns, *_carried(schema)])

    def append(self, values: NDArray[np.float32], index: Iterable[Sequence[object]]) -> None:
        """Add rows: values of shape (rows, width), and a line of the index for each."""
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


def _carried(schema: pa.Schema) -> list[str]:
    return [field.name for field in schema if is_carried(field)]


def _lines(rows: pa.RecordBatch, columns: Sequence[str]) -> Iterator[Sequence[object]]:
    """Yield the lines of the index for some rows: of columns, and of what their sources carry."""
    values = [rows.column(name).to_pylist() for name in (*columns, *_carried(rows.schema))]
    for line in zip(*values, strict=True):
        yield [to_cell(value) if isinstance(value, str) else value for value in line]


def frame_keys(index: Path, key: str) -> Iterator[RowKey]:
    """Yield which rows the array of a source has, from its index."""
    for line in lines_in(index):
        yield key, int(line[0]) if line[0] else None
