"""Rows of boxes for the tests of writers, and what must be read back of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from resnet_pipe.head.rows import BOXES, LABELS, place_schema

NAMES = ("animal", 'a "person", maybe', "=vehicle", "", "☃ 𝄞")
SIZE = 640, 480
MEMBERS = ("x1", "y1", "x2", "y2", "score", "label", "name")

Box = tuple[float, float, float, float, float, int]
"""Left, top, right, bottom, score, label."""
Row = dict[str, Any]


def columns(names: Sequence[str] = NAMES, metadata: dict[str, str] | None = None) -> pa.Schema:
    """Return the columns of rows of boxes."""
    types = [*(5 * [pa.float32()]), pa.int32(), pa.string()]
    found = pa.list_(pa.struct(list(zip(MEMBERS, types, strict=True))))
    fields = [
        pa.field(BOXES[0], found, metadata={LABELS: json.dumps(names)}),
        *(pa.field(name, pa.int32()) for name in BOXES[1:]),
    ]
    return pa.schema([*place_schema(), *fields]).with_metadata(metadata)


@dataclass(frozen=True)
class Found:
    """The boxes of one item, best first."""

    path: str
    boxes: Sequence[Box] = ()
    frame: int | None = None
    size: tuple[int, int] = SIZE

    def row(self, names: Sequence[str] = NAMES) -> Row:
        """Return its row, with numbers as float32 has them."""
        boxes = [
            dict(
                zip(
                    MEMBERS,
                    [*(float(np.float32(each)) for each in box[:5]), box[5], names[box[5]]],
                    strict=True,
                )
            )
            for box in self.boxes
        ]
        pts = None if self.frame is None else self.frame / 25
        place = {"path": self.path, "frame_index": self.frame, "pts_s": pts}
        return {**place, **dict(zip(BOXES, (boxes, *self.size), strict=True))}


def batch(found: Sequence[Found], names: Sequence[str] = NAMES) -> pa.RecordBatch:
    """Return the rows of some items."""
    return pa.RecordBatch.from_pylist([one.row(names) for one in found], schema=columns(names))


def some(path: str, count: int, frame: int | None = None, seed: int = 0) -> Found:
    """Return an item with so many boxes, all within its source."""
    rng = np.random.default_rng([seed, count, frame or 0, *path.encode()])
    corners = np.sort(rng.random((count, 2, 2)), axis=1) * SIZE
    scores = -np.sort(-rng.random(count))
    labels = rng.integers(0, len(NAMES), count)
    boxes = [
        (*corner.ravel().tolist(), float(score), int(label))
        for corner, score, label in zip(corners, scores, labels, strict=True)
    ]
    return Found(path, boxes, frame)
