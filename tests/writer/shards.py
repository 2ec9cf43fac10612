"""Shards for the tests of writers: rows to write, and how each kind is read back without our code."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from resnet_pipe.head.classify import Classify, TopK, top_k
from resnet_pipe.head.registry import FieldName
from resnet_pipe.head.rows import ENTRIES, LABELS
from resnet_pipe.model.output import Output
from resnet_pipe.reader.files import Folder
from resnet_pipe.writer.registry import SECTIONS
from resnet_pipe.writer.tables.table import TableSection
from resnet_pipe.writer.writer import Portion, Target, WriterSection
from tests.writer import boxes

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
TABLES = [kind for kind, each in SECTIONS.items() if issubclass(each, TableSection) and not each.suffixes]
"""The kinds of writers that make one file of a chunk."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Rows:
    """Rows as a test knows them.

    Attributes:
        path: the key of each row's source.
        frame_index: None for an image.
        pts_s: seconds; None for an image.
        features: float32, shape (rows, width).
        logits: float32, shape (rows, classes).
        top_k: the best classes, whatever the logits are.
    """

    path: list[str]
    frame_index: list[int | None]
    pts_s: list[float | None]
    features: NDArray[np.float32] | None = None
    logits: NDArray[np.float32] | None = None
    top_k: TopK | None = None

    def batch(self, made: pa.Schema) -> pa.RecordBatch:
        """Return them as a record batch with some columns; of boxes, each has two."""
        if "detections" in made.names:
            found = map(boxes.some, self.path, [2] * len(self.path), self.frame_index)
            return boxes.batch(list(found))
        columns = {"path": self.path, "frame_index": self.frame_index, "pts_s": self.pts_s}
        arrays = [pa.array(values, made.field(name).type) for name, values in columns.items()]
        for field in list(made)[len(columns) :]:
            if field.name == "top_k":
                arrays.append(pa.array(self._entries(json.loads(field.metadata[LABELS])), field.type))
            else:
                values = getattr(self, field.name)
                arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1]))
        return pa.RecordBatch.from_arrays(arrays, schema=made)

    def _entries(self, labels: Sequence[str]) -> list[list[Row]]:
        assert self.top_k is not None
        pairs = zip(self.top_k.index.tolist(), self.top_k.score.tolist(), strict=True)
        return [
            [
                {"index": i, "label": labels[i].encode(errors="replace").decode(), "score": s}
                for i, s in zip(index, score, strict=True)
            ]
            for index, score in pairs
        ]


def columns(
    fields: Sequence[FieldName],
    k: int = 3,
    classes: Sequence[str] = CLASSES,
    metadata: Mapping[str, str] | None = None,
) -> pa.Schema:
    """Return the columns of rows with some fields, or of boxes."""
    if "boxes" in fields:
        return boxes.columns(classes)
    logits = Output("logits", "float32", (None, len(classes)))
    features = Output("features", "float32", (None, WIDTH))
    return Classify(logits, features, tuple(classes)).schema(fields, k).with_metadata(metadata)


def schema(kind: str, k: int = 3, fields: tuple[FieldName, ...] | None = None) -> pa.Schema:
    """Return the columns of a shard with all the fields that its kind can hold."""
    metadata = {"resnet_pipe.model": "tiny", "resnet_pipe.weights": "RANDOM ☃"}
    return columns(fields or FIELDS.get(kind, ALL), k, metadata=metadata)


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


def join(*portions: Rows) -> Rows:
    """Return the rows of all portions, one after the other."""
    ranked = [part.top_k for part in portions if part.top_k is not None]
    return Rows(
        path=[path for part in portions for path in part.path],
        frame_index=[index for part in portions for index in part.frame_index],
        pts_s=[pts for part in portions for pts in part.pts_s],
        features=np.concatenate([part.features for part in portions if part.features is not None]),
        logits=np.concatenate([part.logits for part in portions if part.logits is not None]),
        top_k=TopK(
            np.concatenate([part.index for part in ranked]), np.concatenate([part.score for part in ranked])
        ),
    )


def expected(given: Rows, made: pa.Schema) -> list[Row]:
    """Return what must be read back of some rows."""
    result = []
    for index, path in enumerate(given.path):
        row: Row = {"path": path, "frame_index": given.frame_index[index], "pts_s": given.pts_s[index]}
        for field in made.names[3:]:
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


def target(directory: Path, made: pa.Schema, root: Path | None = None) -> Target:
    """Return what a writer is told to make in a directory, which is made."""
    directory.mkdir(exist_ok=True)
    return Target(directory, "000000", made, Folder.of([root or directory], True, frozenset()))


def section(kind: str, **keys: Any) -> WriterSection:  # noqa: ANN401 - keys of the section
    """Return the section of a writer."""
    return SECTIONS[kind].model_validate({"kind": kind, "path": "out", **keys}, context={"base": Path()})


def write(directory: Path, kind: str, made: pa.Schema, *portions: Rows) -> Path:
    """Write a shard in one append for each part, and return its path."""
    opened = section(kind).open(target(directory, made))
    for part in portions:
        opened.append(part.batch(made))
    opened.close()
    return directory / f"part-000000.{kind}"


def merge(out: Path, kind: str, made: pa.Schema, *portions: Portion) -> Path:
    """Merge the shards of some directories, and return the path of the result."""
    section(kind).merge(target(out, made), portions)
    return out / f"part-000000.{kind}"


def bits(values: Any) -> bytes:  # noqa: ANN401 - whatever holds numbers
    """Return the bits of values as float32; they must be float32 exactly."""
    return np.array(values, np.float64).astype(np.float32).tobytes()


def _read_parquet(path: Path, _made: pa.Schema) -> Iterator[Row]:
    for row in pq.read_table(path, partitioning=None).to_pylist():
        yield _with_bits(row)


def _read_jsonl(path: Path, _made: pa.Schema) -> Iterator[Row]:
    for line in path.read_bytes().decode().split("\n")[:-1]:
        yield _with_bits(json.loads(line))


def _with_bits(row: Row) -> Row:
    for field in ("features", "logits"):
        if field in row:
            row[field] = bits(row[field])
    if "top_k" in row:
        row["top_k"] = [(entry["index"], entry["label"], bits([entry["score"]])) for entry in row["top_k"]]
    return row


def _read_csv(path: Path, made: pa.Schema) -> Iterator[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file, strict=True):
            row: Row = {
                "path": line["path"].removeprefix("'"),
                "frame_index": int(line["frame_index"]) if line["frame_index"] else None,
                "pts_s": float(line["pts_s"]) if line["pts_s"] else None,
            }
            for field in made.names[3:]:
                if field == "logits":
                    row[field] = bits([float(line[f"logit_{index}"]) for index in range(len(CLASSES))])
                else:
                    row[field] = [
                        (
                            int(line[f"index_{n}"]),
                            line[f"label_{n}"].removeprefix("'"),
                            bits([float(line[f"score_{n}"])]),
                        )
                        for n in range(1, int(made.field("top_k").metadata[ENTRIES]) + 1)
                    ]
            yield row


READ: dict[str, Callable[[Path, pa.Schema], Iterator[Row]]] = {
    "parquet": _read_parquet,
    "csv": _read_csv,
    "jsonl": _read_jsonl,
}
"""kind -> how it is read. A new writer adds its line."""


def read(path: Path, kind: str, made: pa.Schema) -> list[Row]:
    """Return every row of a shard."""
    return list(READ[kind](path, made))
