"""CSV shards (RFC 4180, UTF-8, a header line): labels and scores for spreadsheets."""

from __future__ import annotations

import csv
import heapq
from collections.abc import Collection, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from resnet_pipe.writer.rows import Layout, Rows, TableSection
from resnet_pipe.writer.tables.cells import from_cell, to_cell
from resnet_pipe.writer.tables.text import numbers
from resnet_pipe.writer.writer import Part, Target, Written

SUFFIX = ".csv"

_KEY_COLUMNS = ["path", "frame_index", "pts_s"]


class CsvSection(TableSection):
    """One CSV file for each chunk. Features do not fit in a spreadsheet: use parquet or jsonl for them."""

    kind: Literal["csv"]
    fields: Annotated[
        tuple[Literal["logits", "top_k"], ...],
        Field(min_length=1, description="columns besides path, frame_index and pts_s"),
    ] = ("top_k",)


def open_shard(target: Target) -> CsvShard:
    """Begin a shard; see `writer.writer.open_shard`."""
    return CsvShard(target.shard(SUFFIX), target.layout)


class CsvShard:
    """A shard that is being written: columns logit_0.. and index_1, label_1, score_1, index_2 ...

    Args:
        path: in a staging directory.
        layout: columns.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self._layout = layout
        self._labels = [to_cell(label) for label in layout.classes]
        self._file = path.open("w", encoding="utf-8", newline="")
        self._csv = csv.writer(self._file)
        self._csv.writerow(_header(layout))

    def append(self, rows: Rows) -> None:
        """Add rows after those already there."""
        logits = numbers(rows.logits) if rows.logits is not None and "logits" in self._layout.fields else None
        scores = numbers(rows.top_k.score) if rows.top_k is not None else None
        for row, path in enumerate(rows.path):
            line: list[object] = [to_cell(path), rows.frame_index[row], rows.pts_s[row]]
            for field in self._layout.fields:
                if field == "logits" and logits is not None:
                    line += logits[row]
                elif field == "top_k" and rows.top_k is not None and scores is not None:
                    ranked = zip(rows.top_k.index[row].tolist(), scores[row], strict=True)
                    for index, score in ranked:
                        line += [index, self._labels[index], score]
            self._csv.writerow(line)

    def close(self) -> Written:
        """Complete the file."""
        self._file.close()
        return Written()

    def discard(self) -> None:
        """Release the file."""
        self._file.close()


def merge(target: Target, parts: Sequence[Part]) -> None:
    """Write a shard from the rows of others; see `writer.writer.merge`."""
    header = _header(target.layout)
    texts = [column for column, name in enumerate(header) if name.startswith(("path", "label_"))]
    lines = heapq.merge(
        *(_lines(target.shard(SUFFIX, directory), texts, drop) for directory, drop in parts),
        key=itemgetter(0),
    )
    with target.shard(SUFFIX).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for line in lines:
            for column in texts:
                line[column] = to_cell(line[column])
            writer.writerow(line)


def _lines(path: Path, texts: Sequence[int], drop: Collection[str]) -> Iterator[list[str]]:
    """Yield the lines of a shard; in the columns `texts`, what their cells mean."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        next(lines)
        for line in lines:
            for column in texts:
                line[column] = from_cell(line[column])
            if line[0] not in drop:
                yield line


def _header(layout: Layout) -> list[str]:
    header = list(_KEY_COLUMNS)
    for field in layout.fields:
        if field == "logits":
            header += [f"logit_{index}" for index in range(layout.logits)]
        else:
            header += [
                f"{part}_{rank}" for rank in range(1, layout.k + 1) for part in ("index", "label", "score")
            ]
    return header
