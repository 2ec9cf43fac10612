"""JSON Lines shards: one object a row, for tools that read text."""

from __future__ import annotations

import heapq
import json
from collections.abc import Collection, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from resnet_pipe.writer.rows import FieldName, Layout, Rows, TableSection
from resnet_pipe.writer.tables.text import numbers
from resnet_pipe.writer.writer import Part, Target, Written

SUFFIX = ".jsonl"


class JsonlSection(TableSection):
    """One JSON Lines file for each chunk."""

    kind: Literal["jsonl"]
    fields: Annotated[
        tuple[FieldName, ...], Field(min_length=1, description="members besides path, frame_index and pts_s")
    ] = ("top_k",)


def open_shard(target: Target) -> JsonlShard:
    """Begin a shard; see `writer.writer.open_shard`."""
    return JsonlShard(target.shard(SUFFIX), target.layout)


class JsonlShard:
    """A shard that is being written.

    Args:
        path: in a staging directory.
        layout: members of each object.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self._layout = layout
        self._file = path.open("w", encoding="utf-8", newline="\n")

    def append(self, rows: Rows) -> None:
        """Add rows after those already there."""
        for index, row in enumerate(_objects(rows, self._layout)):
            record = {
                "path": rows.path[index],
                "frame_index": rows.frame_index[index],
                "pts_s": rows.pts_s[index],
                **row,
            }
            self._file.write(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n")

    def close(self) -> Written:
        """Complete the file."""
        self._file.close()
        return Written()

    def discard(self) -> None:
        """Release the file."""
        self._file.close()


def merge(target: Target, parts: Sequence[Part]) -> None:
    """Write a shard from the rows of others; see `writer.writer.merge`."""
    lines = heapq.merge(
        *(_lines(target.shard(SUFFIX, directory), drop) for directory, drop in parts), key=itemgetter(0)
    )
    with target.shard(SUFFIX).open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(line for _, line in lines)


def _lines(path: Path, drop: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the key of the source of each line, and the line."""
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            key = json.loads(line)["path"]
            if key not in drop:
                yield key, line


def _objects(rows: Rows, layout: Layout) -> Iterator[dict[str, Any]]:
    columns: dict[str, list[Any]] = {}
    if rows.features is not None and "features" in layout.fields:
        columns["features"] = numbers(rows.features)
    if rows.logits is not None and "logits" in layout.fields:
        columns["logits"] = numbers(rows.logits)
    if rows.top_k is not None and "top_k" in layout.fields:
        columns["top_k"] = [
            [
                {"index": index, "label": layout.classes[index], "score": score}
                for index, score in zip(indices, scores, strict=True)
            ]
            for indices, scores in zip(rows.top_k.index.tolist(), numbers(rows.top_k.score), strict=True)
        ]
    for row in range(len(rows.path)):
        yield {field: columns[field][row] for field in layout.fields}
