"""The contract of a writer, and the registry of the writers there are."""

from __future__ import annotations

import importlib
from collections.abc import Collection
from pathlib import Path
from typing import Protocol, cast

from resnet_pipe.writer.rows import Layout, Rows

WRITERS = {
    "parquet": ("resnet_pipe.writer.parquet", "ParquetShard"),
    "csv": ("resnet_pipe.writer.csv", "CsvShard"),
    "jsonl": ("resnet_pipe.writer.jsonl", "JsonlShard"),
}
"""kind -> module and class. The module also has SUFFIX and merge()."""


class Shard(Protocol):
    """The output file of one chunk while it is being written, under a temporary name."""

    def append(self, rows: Rows) -> None:
        """Add rows after those already there."""

    def close(self) -> None:
        """Complete the file."""


def open_shard(kind: str, path: Path, layout: Layout) -> Shard:
    """Begin a shard at `path`, a temporary name."""
    module, name = WRITERS[kind]
    return cast(Shard, getattr(importlib.import_module(module), name)(path, layout))


def merge(kind: str, old: Path, new: Path, drop: Collection[str], out: Path, layout: Layout) -> int:
    """Write to `out` the rows of `old` not in `drop`, and those of `new`, sorted by path; count them."""
    return cast(int, importlib.import_module(WRITERS[kind][0]).merge(old, new, drop, out, layout))


def suffix(kind: str) -> str:
    """Return the file name suffix of a kind of shard."""
    return cast(str, importlib.import_module(WRITERS[kind][0]).SUFFIX)
