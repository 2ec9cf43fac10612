"""JSON Lines shards: one object a row, for tools that read text."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from resnet_pipe.writer.rows import FieldName, Layout, Rows, TableSection
from resnet_pipe.writer.text import numbers

SUFFIX = ".jsonl"


class JsonlSection(TableSection):
    """One JSON Lines file for each chunk."""

    kind: Literal["jsonl"]
    fields: Annotated[
        tuple[FieldName, ...], Field(min_length=1, description="members beside path, frame_index and pts_s")
    ] = ("top_k",)


class JsonlShard:
    """A shard that is being written.

    Args:
        path: where to; a temporary name.
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

    def close(self) -> None:
        """Complete the file."""
        self._file.close()


def merge(old: Path, new: Path, drop: Collection[str], out: Path, layout: Layout) -> int:
    """Write to `out` the rows of `old` not in `drop`, and those of `new`, sorted by path; count them."""
    lines = [line for line in _lines(old) if line[0][0] not in drop] + list(_lines(new))
    with out.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(line for _, line in sorted(lines, key=lambda entry: entry[0]))
    return len(lines)


def _lines(path: Path) -> Iterator[tuple[tuple[str, int], str]]:
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            record = json.loads(line)
            yield (record["path"], record["frame_index"] or 0), line


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
