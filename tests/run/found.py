"""A head that makes boxes of what a small network gives for classes, for tests of what becomes of boxes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from resnet_pipe.head.classify import Classify
from resnet_pipe.head.output_choice import for_classes
from resnet_pipe.head.rows import LABELS, Place
from resnet_pipe.job.job import Job
from resnet_pipe.model.model import Model
from resnet_pipe.model.network import Network
from tests.writer.boxes import Found, batch, columns

SIDE = 100


class BoxesOfClasses(Classify):
    """Each class whose value is positive is a box, but not of `none*`; where it is depends on its number."""

    MADE_OF: ClassVar[Mapping[str, str]] = {"boxes": "logits"}

    def numbers(self, _fields: Sequence[str], _k: int) -> int:
        """Return how many numbers a row has, at most."""
        return 6 * self.classes

    def schema(self, fields: Sequence[str], _k: int) -> pa.Schema:
        """Return the columns of rows."""
        return columns(self.labels) if "boxes" in fields else columns(self.labels).remove(3)

    def rows(
        self, outputs: Mapping[str, NDArray[np.float32]], places: Sequence[Place], schema: pa.Schema
    ) -> pa.RecordBatch:
        """Return a row for each item."""
        names = json.loads(schema.field("detections").metadata[LABELS])
        (values,) = outputs.values()
        found = []
        for (key, frame, *_), row in zip(places, values, strict=True):
            boxes = [
                (label, 2 * label, label + 20, SIDE, 1 / (1 + label), label)
                for label in np.flatnonzero(row > 0).tolist()
                if not key.startswith("none")
            ]
            found.append(Found(key, boxes, frame, (SIDE, SIDE)))
        made = batch(found, names)
        return pa.RecordBatch.from_arrays(made.columns, schema=schema)


def head_of(_job: Job, _model: Model, network: Network, _problems: object) -> BoxesOfClasses:
    """Return that head for a network; it takes the place of `resnet_pipe.job.detection.head_of`."""
    logits = for_classes(network)
    return BoxesOfClasses(logits, labels=tuple(f"class {index}" for index in range(logits.width or 0)))


def use_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have jobs of this process use that head."""
    monkeypatch.setattr("resnet_pipe.job.detection.head_of", head_of)
