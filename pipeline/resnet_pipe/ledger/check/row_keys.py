"""Which rows a file holds, by path and frame alone and in little memory; are they those of its record?"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from resnet_pipe.writer.registry import SECTIONS
from resnet_pipe.writer.writer import RowKey


def table(path: Path) -> Iterator[RowKey] | None:
    """Return which rows a shard has; None for a file that does not say.

    Whatever its library says is raised when the file is not what its name says.
    """
    for section in SECTIONS.values():
        if section.shard_suffix is not None and path.name.endswith(section.shard_suffix):
            return section.row_keys(path)
    return None


def unlike_index(path: Path, index: Iterable[object]) -> list[str]:
    """Return in words how the rows of an array differ in number from those of its index.

    Raises:
        ValueError: it is no array, or as long as its head does not say.
    """
    import numpy as np

    with path.open("rb") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("not an .npy file of version 1.0")
        (rows, width), _, dtype = np.lib.format.read_array_header_1_0(file)
        expected = file.tell() + rows * width * dtype.itemsize
        if os.fstat(file.fileno()).st_size != expected:
            raise ValueError(f"according to its header it should have {expected} bytes")
    named = sum(1 for _ in index)
    return [f"{rows:,} rows, but {named:,} in its index"] if rows != named else []


def differences(rows: Iterable[RowKey], expected: Mapping[str, int]) -> list[str]:
    """Return in words how rows differ from those that a record names.

    Those of a source are expected together, by increasing frame; sources without rows may be named or not.
    """
    found: list[str] = []
    seen: set[str] = set()
    for key, group in groupby(rows, key=itemgetter(0)):
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


def _name(key: str, frame: int | None) -> str:
    return key if frame is None else f"{key}, frame {frame},"
