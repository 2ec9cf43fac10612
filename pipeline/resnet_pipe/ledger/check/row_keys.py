"""Which rows a file holds, by path and frame alone and in little memory; are they those of its record?"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from resnet_pipe.writer.tables.cells import from_cell

ARRAY = ".npy"
INDEX = ".index.csv"
"""What the name of the index of a matrix ends in; that of the array of one source ends in `.csv`."""

Place = tuple[str, int | None]
"""The key of a row's source, and its frame: None for an image, and for the one row of all frames together."""


def table(path: Path) -> Iterator[Place] | None:
    """Return the places of the rows of a shard; None for one that has no such columns.

    Whatever its library says is raised when the file is not what its name says.
    """
    for suffix, reader in _TABLES.items():
        if path.name.endswith(suffix):
            return reader(path)
    return None


def frames(path: Path, key: str) -> Iterator[Place]:
    """Return the places of the rows of one source's array, from its index."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        next(lines)
        for line in lines:
            yield key, _frame(line[0])


def array_rows(path: Path) -> int:
    """Return how many rows an array has.

    Raises:
        ValueError: it is none, or as long as its head does not say.
    """
    import numpy as np

    with path.open("rb") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("not an .npy file of version 1.0")
        (rows, width), _, dtype = np.lib.format.read_array_header_1_0(file)
        expected = file.tell() + rows * width * dtype.itemsize
        if os.fstat(file.fileno()).st_size != expected:
            raise ValueError(f"according to its header it should have {expected} bytes")
    return int(rows)


def differences(places: Iterable[Place], expected: Mapping[str, int]) -> list[str]:
    """Return in words how rows differ from those that a record names.

    Args:
        places: of the rows, those of a source together, by increasing frame.
        expected: how many rows each source has; those without rows may be there or not.
    """
    found: list[str] = []
    seen: set[str] = set()
    for key, group in groupby(places, key=itemgetter(0)):
        count, last, alone = 0, None, False
        for _, frame in group:
            alone = frame is None and count == 0
            if count and (frame is None or last is None or frame <= last):
                found.append(f"row {_name(key, frame)} is duplicated or out of order")
            count, last = count + 1, frame
        if key in seen:
            found.append(f"rows of {key} are in two places")
        elif key not in expected or not expected[key]:
            found.append(f"{count} rows of {key}, but its record has none")
        elif count != expected[key] and not alone:  # one row alone may be the mean over all frames
            found.append(f"{count} rows of {key}, but its record has {expected[key]}")
        seen.add(key)
    found += [
        f"no rows of {key}, but its record has {count}"
        for key, count in expected.items()
        if count and key not in seen
    ]
    return found


def _parquet(path: Path) -> Iterator[Place]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pa.OSFile(os.fsencode(path), "rb") as source:
        file = pq.ParquetFile(source)
        for number in range(file.num_row_groups):
            group = file.read_row_group(number, columns=["path", "frame_index"])
            yield from zip(group["path"].to_pylist(), group["frame_index"].to_pylist(), strict=True)


def _csv(path: Path) -> Iterator[Place]:
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        next(lines)
        for line in lines:
            yield from_cell(line[0]), _frame(line[1])


def _jsonl(path: Path) -> Iterator[Place]:
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            row = json.loads(line)
            yield row["path"], row["frame_index"]


_TABLES: dict[str, Callable[[Path], Iterator[Place]]] = {
    ".parquet": _parquet,
    ".csv": _csv,  # the index of a matrix as well
    ".jsonl": _jsonl,
}


def _frame(cell: str) -> int | None:
    return int(cell) if cell else None


def _name(key: str, frame: int | None) -> str:
    return key if frame is None else f"{key}, frame {frame},"
