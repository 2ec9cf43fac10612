"""Shards for the tests of writers: rows to write, and how each kind is read back without our code."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from resnet_pipe.writer import writer
from resnet_pipe.writer.rows import FieldName, Layout, Rows, TopK, WriterSection, top_k
from resnet_pipe.writer.tables.csv import CsvSection
from resnet_pipe.writer.tables.jsonl import JsonlSection
from resnet_pipe.writer.tables.parquet import ParquetSection

CLASSES = (
    "plain",
    'say "cheese", please',
    "two\nlines\r\n",
    "☃ 𝄞 ü",
    "",
    " back\\slash\t",
    "a;b|c'd",
    "\u2028",
    "=1+1",
    "'=quoted'",
)
WIDTH = 3
ALL: tuple[FieldName, ...] = ("features", "logits", "top_k")
FIELDS: dict[str, tuple[FieldName, ...]] = {"csv": ("logits", "top_k")}
"""What a kind of shard can hold, if not all."""
SECTIONS: dict[str, type[WriterSection]] = {
    "parquet": ParquetSection,
    "csv": CsvSection,
    "jsonl": JsonlSection,
}

Row = dict[str, Any]


def layout(kind: str, k: int = 3, fields: tuple[FieldName, ...] | None = None) -> Layout:
    """Return the layout of a shard with all the fields that its kind can hold."""
    return Layout(
        fields=fields or FIELDS.get(kind, ALL),
        features=WIDTH,
        classes=CLASSES,
        k=k,
        metadata={"model": "tiny", "weights": "RANDOM ☃"},
    )


def floats(count: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    """Return float32 values of all magnitudes, each bit pattern as likely: subnormal, huge, negative zero."""
    bits = np.random.default_rng(seed).integers(0, 2**32, (count, width), dtype=np.uint32)
    values = bits.view(np.float32)
    values[~np.isfinite(values)] = -0.0
    return values


def rows(paths: Sequence[str], frames: bool = False, seed: int = 0, k: int = 3) -> Rows:
    """Return a row for each path: of images, or of consecutive frames."""
    count = len(paths)
    frame_index: list[int | None] = [index if frames else None for index in range(count)]
    rng = np.random.default_rng(seed)
    ranked = top_k(rng.normal(scale=9, size=(count, len(CLASSES))).astype(np.float32), k)
    return Rows(
        path=list(paths),
        frame_index=frame_index,
        pts_s=[None if index is None else index / 29.97 for index in frame_index],
        features=floats(count, WIDTH, seed),
        logits=floats(count, len(CLASSES), seed + 1),
        top_k=ranked,
    )


def join(*parts: Rows) -> Rows:
    """Return the rows of all parts, one after the other."""
    ranked = [part.top_k for part in parts if part.top_k is not None]
    return Rows(
        path=[path for part in parts for path in part.path],
        frame_index=[index for part in parts for index in part.frame_index],
        pts_s=[pts for part in parts for pts in part.pts_s],
        features=np.concatenate([part.features for part in parts if part.features is not None]),
        logits=np.concatenate([part.logits for part in parts if part.logits is not None]),
        top_k=TopK(
            np.concatenate([part.index for part in ranked]), np.concatenate([part.score for part in ranked])
        ),
    )


def expected(given: Rows, made: Layout) -> list[Row]:
    """Return what must be read back of some rows."""
    result = []
    for index, path in enumerate(given.path):
        row: Row = {"path": path, "frame_index": given.frame_index[index], "pts_s": given.pts_s[index]}
        for field in made.fields:
            if field == "top_k":
                assert given.top_k is not None
                ranked = zip(given.top_k.index[index].tolist(), given.top_k.score[index], strict=True)
                row["top_k"] = [(number, CLASSES[number], bits([score])) for number, score in ranked]
            else:
                values = given.features if field == "features" else given.logits
                assert values is not None
                row[field] = bits(values[index])
        result.append(row)
    return result


def target(directory: Path, kind: str, made: Layout) -> writer.Target:
    """Return what a writer is told to make in a directory, which is made."""
    directory.mkdir(exist_ok=True)
    section = SECTIONS[kind].model_validate({"kind": kind, "path": "out"}, context={"base": directory})
    return writer.Target(section, directory, "000000", made, directory)


def write(directory: Path, kind: str, made: Layout, *parts: Rows) -> Path:
    """Write a shard in one append for each part, and return its path."""
    opened = writer.open_shard(target(directory, kind, made))
    for part in parts:
        opened.append(part)
    opened.close()
    return directory / f"part-000000.{kind}"


def merge(out: Path, kind: str, made: Layout, *parts: writer.Part) -> Path:
    """Merge the shards of some directories, and return the path of the result."""
    writer.merge(target(out, kind, made), parts)
    return out / f"part-000000.{kind}"


def bits(values: Any) -> bytes:  # noqa: ANN401 - whatever holds numbers
    """Return the bits of values as float32; they must be float32 exactly."""
    return np.array(values, np.float64).astype(np.float32).tobytes()


def _read_parquet(path: Path, _layout: Layout) -> Iterator[Row]:
    for row in pq.read_table(path, partitioning=None).to_pylist():
        yield _with_bits(row)


def _read_jsonl(path: Path, _layout: Layout) -> Iterator[Row]:
    for line in path.read_bytes().decode().split("\n")[:-1]:
        yield _with_bits(json.loads(line))


def _with_bits(row: Row) -> Row:
    for field in ("features", "logits"):
        if field in row:
            row[field] = bits(row[field])
    if "top_k" in row:
        row["top_k"] = [(entry["index"], entry["label"], bits([entry["score"]])) for entry in row["top_k"]]
    return row


def _read_csv(path: Path, made: Layout) -> Iterator[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file, strict=True):
            row: Row = {
                "path": line["path"].removeprefix("'"),
                "frame_index": int(line["frame_index"]) if line["frame_index"] else None,
                "pts_s": float(line["pts_s"]) if line["pts_s"] else None,
            }
            for field in made.fields:
                if field == "logits":
                    row[field] = bits([float(line[f"logit_{index}"]) for index in range(len(CLASSES))])
                else:
                    row[field] = [
                        (
                            int(line[f"index_{n}"]),
                            line[f"label_{n}"].removeprefix("'"),
                            bits([float(line[f"score_{n}"])]),
                        )
                        for n in range(1, made.k + 1)
                    ]
            yield row


READ: dict[str, Callable[[Path, Layout], Iterator[Row]]] = {
    "parquet": _read_parquet,
    "csv": _read_csv,
    "jsonl": _read_jsonl,
}
"""kind -> how it is read. A new writer adds its line."""


def read(path: Path, kind: str, made: Layout) -> list[Row]:
    """Return every row of a shard."""
    return list(READ[kind](path, made))
