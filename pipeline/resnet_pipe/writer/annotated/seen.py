"""What a network saw in the frames of a source: their best classes, or boxes. Small, and picklable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.head.rows import BOXES, as_numpy

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Labels:
    """The best classes of each frame.

    Attributes:
        index: int32, shape (rows, k): the classes, best first.
        score: float32, shape (rows, k).
    """

    index: NDArray[np.int32]
    score: NDArray[np.float32]

    @staticmethod
    def of(rows: pa.RecordBatch) -> Labels:
        """Return those in the column `top_k` of some rows."""
        entries = rows.column("top_k").flatten()
        # Copies: a view would keep what other writers take.
        index, score = (
            as_numpy(entries.field(name)).reshape(len(rows), -1).copy() for name in ("index", "score")
        )
        return Labels(index, score)

    @staticmethod
    def joined(parts: Sequence[Labels]) -> Labels:
        """Return what was seen in the frames of all parts, one after the other."""
        return Labels(
            np.concatenate([part.index for part in parts]), np.concatenate([part.score for part in parts])
        )


@dataclass(frozen=True)
class Boxes:
    """The boxes of each frame, best first, one frame after the other.

    Attributes:
        counts: int64, shape (rows,): of the boxes of each frame.
        corners: float32, shape (boxes, 4): left, top, right, bottom, relative to the source.
        index: int32, shape (boxes,): their classes.
        score: float32, shape (boxes,).
    """

    counts: NDArray[np.int64]
    corners: NDArray[np.float32]
    index: NDArray[np.int32]
    score: NDArray[np.float32]

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return self.counts.cumsum()

    @staticmethod
    def of(rows: pa.RecordBatch) -> Boxes:
        """Return those in the columns of `boxes` of some rows."""
        found, width, height = (rows.column(name) for name in BOXES)
        boxes = found.flatten()
        counts = np.diff(as_numpy(found.offsets)).astype(np.int64)
        x1, y1, x2, y2, index, score = (
            as_numpy(boxes.field(name)) for name in ("x1", "y1", "x2", "y2", "label", "score")
        )
        across, down = (np.repeat(as_numpy(side), counts).astype(np.float32) for side in (width, height))
        corners = np.stack([x1 / across, y1 / down, x2 / across, y2 / down], axis=1, dtype=np.float32)
        return Boxes(counts, corners, index.copy(), score.copy())

    @staticmethod
    def joined(parts: Sequence[Boxes]) -> Boxes:
        """Return what was seen in the frames of all parts, one after the other."""
        return Boxes(
            np.concatenate([part.counts for part in parts]),
            np.concatenate([part.corners for part in parts]),
            np.concatenate([part.index for part in parts]),
            np.concatenate([part.score for part in parts]),
        )

    def of_frame(self, row: int) -> Boxes:
        """Return those of one frame."""
        end = int(self._ends[row])
        start = end - int(self.counts[row])
        return Boxes(
            self.counts[row : row + 1], self.corners[start:end], self.index[start:end], self.score[start:end]
        )


Seen = Labels | Boxes
