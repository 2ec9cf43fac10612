"""The head of a network that finds objects: boxes with a score and a class, in pixels of the source."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.head.detectors.boxes import COLUMNS
from resnet_pipe.head.detectors.settings import DetectorSettings
from resnet_pipe.head.rows import BOXES, LABELS, Place, box_type, numbers, place_columns, place_schema, texts
from resnet_pipe.preprocess.network_input import Placement

if TYPE_CHECKING:
    import pyarrow as pa

    from resnet_pipe.model.detection import Detection
    from resnet_pipe.model.network import Network

FieldName = Literal["boxes"]
"""What it makes, for the jobs that ask for it: the columns `rows.BOXES`."""
DETECTIONS = "detections"
"""What a detector gives, as an output: float32, shape (items, max_detections * 6)."""


@dataclass(frozen=True)
class Detect:
    """The outputs of a network that finds objects, and what a detector makes of them.

    Attributes:
        detector: of which kind the network is, and which boxes are kept.
        names: of the network's outputs, all of which the detector reads.
    """

    MADE_OF: ClassVar[Mapping[str, str]] = {"boxes": DETECTIONS}

    detector: DetectorSettings
    names: tuple[str, ...]
    labels: tuple[str, ...] = ()

    @property
    def widths(self) -> tuple[int, ...]:
        """Return none: the outputs are no rows of numbers."""
        return ()

    def numbers(self, fields: Sequence[str], k: int) -> int:
        """Return how many numbers a row has, at most, beside those that say where it is from."""
        del fields, k  # it has one field
        return 2 + self.detector.max_detections * (COLUMNS + 1)  # the name takes about one more

    def schema(self, fields: Sequence[str], k: int) -> pa.Schema:
        """Return the columns of rows: those of `rows.PLACE`, and for `boxes`, those of `rows.BOXES`."""
        import pyarrow as pa

        del k
        found, width, height = BOXES
        columns = [
            pa.field(found, pa.list_(box_type()), metadata={LABELS: json.dumps(self.labels)}),
            pa.field(width, pa.int32()),
            pa.field(height, pa.int32()),
        ]
        return pa.schema([*place_schema(), *(columns if fields else ())])

    def rows(
        self, outputs: Mapping[str, NDArray[np.float32]], places: Sequence[Place], schema: pa.Schema
    ) -> pa.RecordBatch:
        """Return a row for each item, of what a detector gives for it: see `DETECTIONS`.

        After its place comes the `Placement` of an item. Boxes are cut off at the edges of the source.
        """
        import pyarrow as pa

        columns = place_columns(places)
        if len(schema) > len(columns):
            placements = [Placement(*place[3]) for place in places]  # type: ignore[misc]
            found = outputs[DETECTIONS].reshape(len(places), -1, COLUMNS)
            columns += [
                self._boxes(found, placements, schema.field(BOXES[0]).type),
                numbers(np.array([one.width for one in placements], np.int32)),
                numbers(np.array([one.height for one in placements], np.int32)),
            ]
        return pa.RecordBatch.from_arrays(columns, schema=schema)

    def to_json(self) -> dict[str, Any]:
        """Describe the outputs for records: their names, and how boxes are made of them."""
        made = self.detector
        return {
            "boxes": {
                "outputs": list(self.names),
                "kind": made.kind,
                "score": made.score,
                "nms": made.nms,
                "max_detections": made.max_detections,
                "classes": [self.labels[index] for index in made.only] or "all",
            }
        }

    def describe(self) -> str:
        """Describe the outputs in words."""
        made, count = self.detector, len(self.detector.only)
        which = f"{count} of {made.classes} classes" if count else f"{made.classes} classes"
        return (
            f"boxes of {which} from {', '.join(self.names)} ({made.kind}); score above {made.score:g},"
            f" overlap (IoU) up to {made.nms:g}, at most {made.max_detections} an item"
        )

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
    """Return how boxes are made where a model's sidecar alone says it, and no job."""
    settings = DetectorSettings(
        kind=said.kind,
        classes=len(labels),
        score=said.score,
        nms=said.nms,
        max_detections=said.max_detections,
    )
    return Detect(settings, network.first_outputs, tuple(labels))


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
