"""The committed rows of an output directory: their keys in memory, their values where they are asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import RunError
from resnet_pipe.head.rows import as_numpy
from resnet_pipe.ledger import dataset, fingerprint
from resnet_pipe.ledger.ledger import Ledger
from resnet_pipe.study import stored_boxes
from resnet_pipe.writer.tables.csv import from_cell
from resnet_pipe.writer.writer import RowKey

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.dataset import Fragment

Values = dict[str, NDArray[Any]]
"""`features` and `logits`, of shape (rows, width); `top_k` as `index` and `score`, of shape (rows, k);
`boxes`, of shape (rows, 1): see `stored_boxes`."""

_KEY = ["path", "frame_index"]
_COLUMNS = {"features": ("features",), "logits": ("logits", "logit_"), "top_k": ("top_k", "index_", "score_")}
"""By field: its column, or how the names of those begin in which CSV has its values."""


class StoredRows:
    """The rows of a directory, numbered in the order of its shards. They are read block by block.

    A block is a row group of Parquet, or else a shard. UsageError if there are no shards that pyarrow reads;
    RunError if one of them cannot be read.
    """

    def __init__(self, output: Path) -> None:
        import pyarrow as pa
        import pyarrow.csv
        import pyarrow.dataset

        self.output = output
        format_name, names = dataset.committed(output)
        self._states = _states(names)
        carried = dataset.carried(output)
        kind = dataset.text_format(format_name, carried)
        if kind == "csv":
            kind = pa.dataset.CsvFileFormat(parse_options=pa.csv.ParseOptions(newlines_in_values=True))
        with self._reading(names[0]):
            opened = pa.dataset.dataset(names, format=kind)
        own = [name for name in opened.schema.names if name not in carried]
        self._schema = _typed(own)
        if format_name == "parquet":
            self._schema = pa.schema([opened.schema.field(name) for name in own], opened.schema.metadata)
        self.keys: list[RowKey] = []
        self._blocks: list[Fragment] = []
        self._starts: list[int] = []
        self._said: list[dict[str, str]] = []
        for shard in opened.get_fragments():
            with self._reading(shard.path):
                self._said.append(_said(shard.physical_schema.metadata or {}))
                for block in shard.split_by_row_group() if format_name == "parquet" else [shard]:
                    self._blocks.append(block)
                    self._starts.append(len(self.keys))
                    keys = _keys(block.to_table(self._schema, _KEY))
                    if format_name == "csv":
                        keys = [(from_cell(path), frame) for path, frame in keys]
                    # Of boxes, CSV has several lines for a row.
                    self.keys += [key for key, _ in groupby(keys)] if self._has_lines else keys
        self._last: tuple[int, Values] | None = None  # the block that was read last

    @property
    def fields(self) -> list[str]:
        """Return which of features, logits, top_k and boxes there are."""
        return [field for field in (*_COLUMNS, "boxes") if self._columns(field)]

    @property
    def _has_lines(self) -> bool:
        return stored_boxes.LINES[0] in self._schema.names

    @cached_property
    def widths(self) -> dict[str, int]:
        """Return how many values of each kind a row has; there is at least one row."""
        return {name: each.shape[1] for name, each in self.values(np.array([0]), self.fields).items()}

    def values(self, rows: NDArray[np.int64], fields: Sequence[str]) -> Values:
        """Return the values of some rows, at least one, in the order that is given."""
        found: Values = {}
        blocks = np.searchsorted(self._starts, rows, side="right") - 1
        for block in np.unique(blocks):
            at = np.flatnonzero(blocks == block)
            for name, values in self._read(block, fields).items():
                into = found.setdefault(name, np.empty((len(rows), values.shape[1]), values.dtype))
                into[at] = values[rows[at] - self._starts[block]]
        return found

    def made_with(self) -> dict[str, str]:
        """Return how the rows were made: all that shards say, or else the fingerprint, which says less."""
        said = self._said if any(self._said) else [_noted(self.output)]
        names = dict.fromkeys(name for each in said for name in each)
        return {name: ", ".join(sorted({each[name] for each in said if name in each})) for name in names}

    def refuse_if_changed(self) -> None:
        """Raise RunError if a run has replaced shards since they were opened."""
        if self._states != _states(dataset.committed(self.output)[1]):
            raise RunError(f"{self.output} has been changed meanwhile", "wait until no run writes there")

    def _columns(self, field: str) -> list[str]:
        if field == "boxes":
            return [name for name in self._schema.names if name in (stored_boxes.LISTS, *stored_boxes.LINES)]
        return [name for name in self._schema.names if name.startswith(_COLUMNS[field])]

    def _read(self, block: int, fields: Sequence[str]) -> Values:
        if self._last is None or self._last[0] != block:
            self._last = None  # not in memory beside the next one
            columns = [name for field in fields for name in self._columns(field)]
            columns += _KEY if self._has_lines else []
            with self._reading(self._blocks[block].path):
                self._last = block, _values(self._blocks[block].to_table(self._schema, columns))
        return self._last[1]

    @contextmanager
    def _reading(self, path: Path | str) -> Iterator[None]:
        """Say of which shard it is what pyarrow raises."""
        import pyarrow as pa

        try:
            yield
        except (OSError, ValueError, LookupError, pa.ArrowException) as error:
            raise RunError(
                f"{path} cannot be read: {type(error).__name__}: {error}",
                f"resnet-pipe check {self.output} tells whether it is damaged",
            ) from None


def matches(ours: StoredRows, theirs: StoredRows) -> NDArray[np.int64]:
    """Return for each row of one directory the number of that row in the other one; -1 where it has none."""
    places = {key: row for row, key in enumerate(theirs.keys)}
    return np.array([places.get(key, -1) for key in ours.keys], np.int64)


def _typed(names: Sequence[str]) -> pa.Schema:
    """Return the types of what is read from text. Told from values, a path like a date would become one."""
    import pyarrow as pa

    vector = pa.list_(pa.float32())
    entries = pa.list_(pa.struct([("index", pa.int32()), ("score", pa.float32())]))
    types = {"path": pa.string(), "frame": pa.int64(), "features": vector, "logits": vector, "top": entries}
    types |= {"logit": pa.float32(), "index": pa.int32(), "score": pa.float32()}
    if not {stored_boxes.LISTS, stored_boxes.LINES[0]}.isdisjoint(names):
        types |= stored_boxes.types()
    kinds = {name: name.partition("_")[0] for name in names}
    return pa.schema([(name, types[kind]) for name, kind in kinds.items() if kind in types])


def _keys(table: pa.Table) -> list[RowKey]:
    paths, frames = (table.column(name).to_pylist() for name in _KEY)
    return list(zip(paths, frames, strict=True))


def _values(table: pa.Table) -> Values:
    if stored_boxes.LINES[0] in table.column_names:
        lines = [table.column(name).combine_chunks() for name in stored_boxes.LINES]
        return {"boxes": stored_boxes.of_lines(lines, _keys(table))}
    found: Values = {}
    parts: dict[str, list[pa.Array]] = {}
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        if name == stored_boxes.LISTS:
            found["boxes"] = stored_boxes.of_lists(column)
        elif name == "top_k":
            entries = column.flatten()
            parts |= {part: [entries.field(part)] for part in ("index", "score")}
        elif name in _COLUMNS:
            parts[name] = [column.flatten()]
        else:  # of CSV, whose columns are in order
            parts.setdefault(name.partition("_")[0].replace("logit", "logits"), []).append(column)
    shape = table.num_rows, -1
    for name, arrays in parts.items():
        each = [as_numpy(one).reshape(shape) for one in arrays]
        found[name] = each[0] if len(each) == 1 else np.hstack(each)
    return found


def _said(metadata: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return what the metadata of a shard says; of a JSON object each value by itself."""
    found: dict[str, str] = {}
    for key, text in metadata.items():
        name = key.decode().removeprefix("resnet_pipe.")
        if name in ("preprocessing", "outputs"):
            found |= {f"{name}.{part}": _text(value) for part, value in json.loads(text).items()}
        else:
            found[name] = text.decode()
    return found


def _noted(output: Path) -> dict[str, str]:
    """Return what the fingerprint of a directory says, by the names that shards have for it."""
    noted = fingerprint.read(Ledger(output.absolute()).store)
    return {
        name.removeprefix("infer.").replace("preprocess.", "preprocessing."): _text(value)
        for name, value in (noted.settings if noted else {}).items()
        if name in ("model_sha256", "infer.precision") or name.startswith("preprocess.")
    }


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _states(shards: Sequence[str]) -> list[tuple[int, int]]:
    return [(status.st_ino, status.st_mtime_ns) for status in map(os.stat, shards)]
