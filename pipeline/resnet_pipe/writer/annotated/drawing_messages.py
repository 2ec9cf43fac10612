"""What the run and the process that draws labels say to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import SourceError


@dataclass(frozen=True)
class DrawingSetup:
    """What is the same for all sources of a chunk: the first message.

    Attributes:
        root: the directory that the keys of the sources start from.
        labels: by class index.
        quality: of the pictures: constant rate factor of the video, or JPEG's quality.
        track: as for `Target`.
    """

    kind: Literal["video", "images"]
    root: Path
    directory: Path
    labels: tuple[str, ...]
    font: Path | None
    quality: int
    track: int | None


@dataclass(frozen=True)
class Request:
    """One source, and what the network saw in it.

    Attributes:
        frame_index: int64, shape (rows,), increasing; None for an image, which has one row.
        index: int32, shape (rows, k): the best classes.
        score: float32, shape (rows, k).
    """

    key: str
    frame_index: NDArray[np.int64] | None
    index: NDArray[np.int32]
    score: NDArray[np.float32]

    def row_at(self, position: int) -> int | None:
        """Return the row of the last frame up to this one that the network saw; None before the first."""
        if self.frame_index is None:
            return 0
        row = int(np.searchsorted(self.frame_index, position, side="right")) - 1
        return None if row < 0 else row


def joined(parts: Sequence[Request]) -> Request:
    """Return all rows of a source, which have come in parts: one or more, in order."""
    frames = [part.frame_index for part in parts if part.frame_index is not None]
    return Request(
        parts[0].key,
        np.concatenate(frames) if frames else None,
        np.concatenate([part.index for part in parts]),
        np.concatenate([part.score for part in parts]),
    )


class Step(Enum):
    """Signs of life of the process."""

    READY = "it has started"
    ALIVE = "it reads, draws or encodes"
    CLOSING = "it closes a file, which takes as long as the disk takes"


@dataclass(frozen=True)
class Answer:
    """What has become of a source: its files, relative to the directory, and why they are not complete."""

    files: tuple[Path, ...] = ()
    failure: SourceError | None = None


Message = Step | Answer | OSError
"""An `OSError`: nothing can be written."""
