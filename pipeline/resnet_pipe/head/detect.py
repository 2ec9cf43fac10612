"""The head of a network that finds objects: boxes with a score and a class, in pixels of the source."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.head.classify import FEATURES, features_field
from resnet_pipe.head.detectors.boxes import COLUMNS
from resnet_pipe.head.detectors.settings import DetectorSettings
from resnet_pipe.head.output_choice import features_of
from resnet_pipe.head.rows import (
    BOXES,
    LABELS,
    Place,
    box_type,
    numbers,
    of_matrix,
    place_columns,
    place_schema,
    texts,
)
from resnet_pipe.preprocess.network_input import Placement

if TYPE_CHECKING:
    import pyarrow as pa

    from resnet_pipe.model.detection import Detection
    from resnet_pipe.model.network import Network
    from resnet_pipe.model.output import Output

FieldName = Literal["boxes"]
"""What it alone makes, for the jobs that ask for it: the columns `rows.BOXES`."""
_LISTED = 3
"""A description names as many maps, or else the first and the last."""
DETECTIONS = "detections"
"""What a detector gives, as an output: float32, shape (items, max_detections * 6)."""


@dataclass(frozen=True)
class Detect:
    """The outputs of a network that finds objects, and what a detector makes of them.

    Attributes:
        MADE_OF: each field that it makes -> the output that it is made of.
        detector: of which kind the network is, and which boxes are kept.
        maps: the names of the network's outputs that the detector reads.
        features: the pooled values of the network's backbone; None if they are not used.
    """

    MADE_OF: ClassVar[Mapping[str, str]] = {"boxes": DETECTIONS, FEATURES: FEATURES}

    detector: DetectorSettings
    maps: tuple[str, ...]
    labels: tuple[str, ...] = ()
    features: Output | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all outputs that it uses, the features last."""
        return (*self.maps, *self.as_they_come)

    @property
    def as_they_come(self) -> tuple[str, ...]:
        """Return the name of the features, if they are used."""
        return () if self.features is None else (self.features.name,)

    @property
    def widths(self) -> tuple[int | None, ...]:
        """Return None for each but the features, which are a row of numbers."""
        return (*(None for _ in self.maps), *([self.features.width] if self.features else []))

    def numbers(self, fields: Sequence[str], k: int) -> int:
        """Return how many numbers a row has, at most, beside those that say where it is from."""
        del k
        boxes = 2 + self.detector.max_detections * (COLUMNS + 1)  # the name takes about one more
        each = {"boxes": boxes, FEATURES: (self.features.width or 0) if self.features else 0}
        return sum(each[field] for field in fields)

    def schema(self, fields: Sequence[str], k: int) -> pa.Schema:
        """Return the columns of rows: those of `rows.PLACE`, and the fields, in their order.

        For `boxes`, these are those of `rows.BOXES`.
        """
        import pyarrow as pa

        del k
        found, width, height = BOXES
        columns = {
            "boxes": [
                pa.field(found, pa.list_(box_type()), metadata={LABELS: json.dumps(self.labels)}),
                pa.field(width, pa.int32()),
                pa.field(height, pa.int32()),
            ],
            FEATURES: [features_field(self.features)],
        }
        return pa.schema([*place_schema(), *(column for field in fields for column in columns[field])])

    def rows(
        self, outputs: Mapping[str, NDArray[np.float32]], places: Sequence[Place], schema: pa.Schema
    ) -> pa.RecordBatch:
        """Return a row for each item, of what a detector gives for it, `DETECTIONS`, and its features.

        For boxes, the `Placement` of an item comes after its place. They are cut off at the edges of the
        source.
        """
        import pyarrow as pa

        columns = place_columns(places)
        names = schema.names[len(columns) :]
        made: dict[str, pa.Array] = {}
        if FEATURES in names and self.features is not None:
            made[FEATURES] = of_matrix(outputs[self.features.name])
        if BOXES[0] in names:
            placements = [Placement(*place[3]) for place in places]  # type: ignore[misc]
            found = outputs[DETECTIONS].reshape(len(places), -1, COLUMNS)
            sizes = np.array([(one.width, one.height) for one in placements], np.int32)
            boxes = self._boxes(found, placements, schema.field(BOXES[0]).type)
            made |= zip(BOXES, (boxes, *(numbers(side.copy()) for side in sizes.T)), strict=True)
        return pa.RecordBatch.from_arrays([*columns, *(made[name] for name in names)], schema=schema)

    def to_json(self) -> dict[str, Any]:
        """Describe the outputs for records: their names, and how boxes are made of them."""
        made = self.detector
        found: dict[str, Any] = {
            "boxes": {
                "outputs": list(self.maps),
                "kind": made.kind,
                "score": made.score,
                "nms": made.nms,
                "max_detections": made.max_detections,
                "classes": [self.labels[index] for index in made.only] or "all",
            }
        }
        if self.features is not None:
            found[FEATURES] = {"output": self.features.name, "width": self.features.width}
        return found

    def describe(self) -> str:
        """Describe the outputs in words."""
        made, count = self.detector, len(self.detector.only)
        which = f"{count} of {made.classes} classes" if count else f"{made.classes} classes"
        maps = ", ".join(self.maps)
        if len(self.maps) > _LISTED:
            maps = f"{len(self.maps)} outputs, {self.maps[0]} to {self.maps[-1]}"
        told = (
            f"boxes of {which} from {maps} ({made.kind}); score above {made.score:g},"
            f" overlap (IoU) up to {made.nms:g}, at most {made.max_detections} an item"
        )
        return told if self.features is None else f"{told}; {self.features.describe()}: features"

    def _boxes(
        self, found: NDArray[np.float32], placements: Sequence[Placement], kind: pa.ListType
    ) -> pa.ListArray:
        import pyarrow as pa

        given = found[:, :, 4] > 0
        counts = given.sum(axis=1)
        corners, label = _in_source(found[given], counts, placements), found[given][:, 5].astype(np.int32)
        names = texts([self.labels[index].encode(errors="replace").decode() for index in label])
        columns = [*(numbers(column.copy()) for column in corners.T), numbers(label), names]
        entries = pa.StructArray.from_arrays(columns, fields=list(kind.value_type))
        ends = np.concatenate([[0], counts.cumsum()]).astype(np.int32)
        return pa.ListArray.from_arrays(numbers(ends), entries)


def as_said(said: Detection, labels: Sequence[str], network: Network) -> Detect:
    """Return how boxes are made where a model's sidecar alone says it, and no job; features if there are."""
    settings = DetectorSettings(
        kind=said.kind,
        classes=len(labels),
        score=said.score,
        nms=said.nms,
        max_detections=said.max_detections,
    )
    features = features_of(network)
    maps = tuple(one.name for one in network.of_images if one != features)
    return Detect(settings, maps, tuple(labels), features)


def _in_source(
    found: NDArray[np.float32], counts: NDArray[np.int64], placements: Sequence[Placement]
) -> NDArray[np.float32]:
    """Return corners in pixels of the source, and scores, float32, shape (n, 5).

    `found` has them in pixels of the network's input; so many of each item, one item after the other.
    """
    where = np.array(placements, np.float64).repeat(counts, axis=0)
    size, corner, inner = (np.tile(where[:, at : at + 2], 2) for at in (0, 2, 4))
    made = np.empty((len(found), 5), np.float32)
    made[:, :4] = np.clip((found[:, :4] - corner) * (size / inner), 0, size)
    made[:, 4] = found[:, 4]
    return made
