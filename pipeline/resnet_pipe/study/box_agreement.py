"""How well the boxes agree that two executions of one network find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.head.detectors.settings import DetectorSettings
from resnet_pipe.study.matching import IOU, LEAST, SCORE, apart, items_of, matched


@dataclass(frozen=True)
class BoxAgreement:
    """Figures over the images of a sample; see `Agreed`.

    Attributes:
        boxes: so many the reference has, in all images.
        matched: the share of the boxes of either that the other has too; see `matching.matched`.
        max_box_difference: the largest difference of a coordinate between boxes of the same class that
            overlap, whatever their scores, in pixels of the network's input; None if there are none.
        max_score_difference: the largest difference of their scores.
    """

    THRESHOLDS: ClassVar[Mapping[str, float]] = LEAST
    TITLES: ClassVar[str] = f"{'boxes':>8}{'the same':>10}{'max px':>10}{'max score':>11}"

    boxes: int
    matched: float
    max_box_difference: float | None
    max_score_difference: float | None

    def passes(self, precision: str) -> bool:
        """Tell whether it is good enough for a precision."""
        return self.matched >= LEAST[precision]

    def cells(self) -> str:
        """Return the figures for the columns of a table."""
        box, score = (
            "-" if value is None else f"{value:.1e}"
            for value in (self.max_box_difference, self.max_score_difference)
        )
        return f"{self.boxes:>8}{share(self.matched):>10}{box:>10}{score:>11}"

    def describe(self) -> str:
        """Return the figure that decides, in words."""
        return f"{share(self.matched)} of the boxes the same"

    def to_json(self) -> dict[str, Any]:
        """Return the figures for machines."""
        return asdict(self)

    @staticmethod
    def legend(compared: str) -> list[str]:
        """Return what the columns mean."""
        del compared  # it is boxes
        least = ", ".join(f"{name} {threshold}" for name, threshold in LEAST.items())
        same = f"boxes of one class that overlap by {IOU:g} (IoU), their scores {SCORE:g} apart at most"
        return [
            f"the same: {same}. The share",
            f"must reach {least}; boxes within {SCORE:g} of the least score are partners only",
            "max px, max score: between boxes of one class that overlap so, the largest difference of a",
            "corner, in pixels of the network's input, and of the score",
        ]


def compare_boxes(
    found: NDArray[np.float32], reference: NDArray[np.float32], settings: DetectorSettings
) -> BoxAgreement:
    """Compare detections with the expected ones, both float32, shape (n, max_detections * 6)."""
    ours, theirs = items_of(found), items_of(reference)
    pairs = [apart(one, other) for one, other in zip(ours, theirs, strict=True)]
    corners, scores = (np.concatenate(values) for values in zip(*pairs, strict=True))
    return BoxAgreement(
        boxes=sum(map(len, theirs)),
        matched=matched(found, reference, settings),
        max_box_difference=float(corners.max()) if len(corners) else None,
        max_score_difference=float(scores.max()) if len(scores) else None,
    )


def share(value: float) -> str:
    """Return a share in percent, cut off: less than a threshold, or than all, must not look like it."""
    return f"{int(value * 1000 + 1e-6) / 10:.1f}%"
