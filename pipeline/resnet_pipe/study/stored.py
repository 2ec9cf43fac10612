"""The rows of an output directory: their keys in memory, and their numbers where they are asked for."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import RunError
from resnet_pipe.head.rows import as_numpy, numbers, texts
from resnet_pipe.ledger import dataset, fingerprint
from resnet_pipe.ledger.ledger import Ledger
from resnet_pipe.study.blocks import KEY, Load, Values, form_of, whole
from resnet_pipe.writer.writer import RowKey

if TYPE_CHECKING:
    import pyarrow as pa


class Block(NamedTuple):
    """Consecutive rows of a shard: the number of the shard, that of the block in it, and which rows."""

    shard: int
    number: int
    start: int
    rows: int


class Stored:
    """The committed rows of a directory, numbered in the order of its shards.

    UsageError if there are no shards in a format that pyarrow reads; RunError if one cannot be read, or is
    replaced meanwhile.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        shards = dataset.committed(output)
        self._form = form_of(shards.format)
        self._shards = shards.paths
        self._states: list[tuple[int, int, int]] = []
        self._open: tuple[int, Iterator[tuple[int, Load]]] | None = None
        self._at = 0
        self._last: tuple[Block, Values] | None = None
        """What was read last: rows in the same order as another directory's are in it, or in the next."""
        self.blocks: list[Block] = []
        self._paths: list[pa.Array] = []
        self._frames: list[pa.Array] = []
        self._read_keys()
        self._starts = np.array([block.start for block in self.blocks], np.int64)

    @property
    def count(self) -> int:
        """Return the number of rows."""
        return sum(block.rows for block in self.blocks)

    @cached_property
    def widths(self) -> dict[str, int | None]:
        """Return the fields, each with its width; of `top_k` None."""
        with self._reading(self._shards[0]):
            return self._form.widths(self._shards[0])

    @property
    def paths(self) -> pa.ChunkedArray:
        """Return the key of each row's source."""
        import pyarrow as pa

        return pa.chunked_array(self._paths, pa.string())

    def keys(self) -> pa.ChunkedArray:
        """Return what two rows of different directories share if they are of the same item."""
        import pyarrow as pa
        import pyarrow.compute as pc

        nothing, end = texts(["", "\0"])
        keys = [
            pc.binary_join_element_wise(path, pc.fill_null(frame.cast(pa.string()), nothing), end)
            for path, frame in zip(self._paths, self._frames, strict=True)
        ]
        keys = [key.cast(pa.large_string()) for key in keys]  # all together may take more than 2 GiB
        return pa.chunked_array(keys, pa.large_string())

    def key(self, row: int) -> RowKey:
        """Return the source and the frame of a row."""
        block = int(self._block_of(np.array([row]))[0])
        at = row - self.blocks[block].start
        return self._paths[block][at].as_py(), self._frames[block][at].as_py()

    def values(self, rows: NDArray[np.int64], fields: Collection[str]) -> Values:
        """Return the numbers of some rows, at least one, in the order that is given; not to be changed."""
        blocks = self._block_of(rows)
        found: Values = {}
        for number in np.unique(blocks):
            block = self.blocks[number]
            wanted = np.flatnonzero(blocks == number)
            if len(wanted) == len(rows) and _follow(rows):
                part = slice(rows[0] - block.start, rows[-1] + 1 - block.start)
                return {name: values[part] for name, values in self._load(block, fields).items()}
            _put(found, wanted, len(rows), self._load(block, fields), rows[wanted] - block.start)
        return found

    def made_with(self) -> dict[str, str]:
        """Return how the rows were made: what the shards say, or else the fingerprint, which says less.

        Shards may differ in the engine: then its value names all.
        """
        found: dict[str, list[str]] = {}
        for path in self._shards:
            with self._reading(path):
                said = dict(self._form.metadata(path))
                for name in ("preprocessing", "outputs"):
                    said |= _flat(name, said.pop(name, "{}"))
            for name, text in said.items():
                if text not in found.setdefault(name, []):
                    found[name].append(text)
        if found:
            return {name: ", ".join(sorted(values)) for name, values in found.items()}
        noted = fingerprint.read(Ledger(self.output.absolute()).store)
        settings = noted.settings if noted else {}
        return {_told(name): _text(value) for name, value in settings.items() if _is_making(name)}

    def _block_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.searchsorted(self._starts, rows, side="right") - 1

    def _read_keys(self) -> None:
        start = 0
        for shard, path in enumerate(self._shards):
            with self._reading(path):
                self._states.append(_state(path))
                for number, load in enumerate(self._form.blocks(path)):
                    table = load(KEY)
                    if not table.num_rows:
                        continue
                    self._paths.append(self._form.paths(table))
                    self._frames.append(whole(table.column("frame_index")))
                    self.blocks.append(Block(shard, number, start, table.num_rows))
                    start += table.num_rows

    def _load(self, block: Block, fields: Collection[str]) -> Values:
        import pyarrow as pa

        if self._last is not None and self._last[0] == block:
            return self._last[1]
        self._last = None  # not in memory beside the next one
        with self._reading(self._shards[block.shard]):
            table = self._loader(block)(list(fields))
            if table.num_rows != block.rows:
                raise ValueError(f"{table.num_rows} rows, and before there were {block.rows}")
            values = self._form.values(table, fields)
            del table
            pa.default_memory_pool().release_unused()
        self._last = block, values
        return values

    def _loader(self, block: Block) -> Load:
        """Return what reads a block. The shard stays open for the next one: most are read in order."""
        if self._open is None or self._open[0] != block.shard or block.number < self._at:
            path = self._shards[block.shard]
            if _state(path) != self._states[block.shard]:
                raise RunError(f"{path} has been replaced meanwhile", "wait until no run writes there")
            self._open = block.shard, enumerate(self._form.blocks(path))
        for number, load in self._open[1]:
            if number == block.number:
                self._at = number + 1
                return load
        raise ValueError("it has become shorter")

    @contextmanager
    def _reading(self, path: Path) -> Iterator[None]:
        """Say of which shard it is what a library raises."""
        import pyarrow as pa

        try:
            yield
        except (OSError, ValueError, LookupError, TypeError, csv.Error, pa.ArrowException) as error:
            raise RunError(
                f"{path} cannot be read: {type(error).__name__}: {error}",
                f"resnet-pipe check {self.output} tells whether it is damaged",
            ) from None


def matches(ours: Stored, theirs: Stored) -> NDArray[np.int64]:
    """Return for each row of one directory the number of that row in the other one; -1 where it has none."""
    import pyarrow.compute as pc

    found = pc.index_in(ours.keys(), value_set=theirs.keys())
    none = numbers(np.array([-1], np.int32))[0]
    return _joined([pc.fill_null(chunk, none) for chunk in found.chunks]).astype(np.int64)


def _joined(arrays: Sequence[pa.Array]) -> NDArray[Any]:
    return np.concatenate([np.empty(0, np.int32), *map(as_numpy, arrays)])


def _state(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _follow(rows: NDArray[np.int64]) -> bool:
    return bool((np.diff(rows) == 1).all())


def _put(found: Values, rows: NDArray[np.int64], count: int, values: Values, at: NDArray[np.int64]) -> None:
    """Put the values at some places into those found, of so many rows."""
    for name, each in values.items():
        known = found.get(name, np.empty((count, 0), each.dtype))
        found[name] = _widened(known, each.shape[1])
        found[name][rows, : each.shape[1]] = each[at]


def _widened(array: NDArray[Any], width: int) -> NDArray[Any]:
    """Return an array with at least so many columns; what is new is like in `blocks.Values`."""
    missing = max(0, width - array.shape[1])
    fill = -1 if array.dtype == np.int32 else 0
    return np.pad(array, ((0, 0), (0, missing)), constant_values=fill) if missing else array


def _flat(name: str, text: str) -> dict[str, str]:
    """Return a JSON object as texts, by dotted name."""
    value = json.loads(text)
    if not isinstance(value, dict):
        return {name: _text(value)}
    found: dict[str, str] = {}
    for key, inner in value.items():
        found |= _flat(f"{name}.{key}", json.dumps(inner))
    return found


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _is_making(name: str) -> bool:
    return name in ("model_sha256", "infer.precision") or name.startswith("preprocess.")


def _told(name: str) -> str:
    """Return the name in shards of a part of the fingerprint."""
    return name.removeprefix("infer.").replace("preprocess.", "preprocessing.")
