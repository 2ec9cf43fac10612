"""Detections of torchvision's FCOS: `torchvision/models/detection/fcos.py`, 0.29."""

from __future__ import annotations

import numpy as np

from resnet_pipe.head.detectors.anchors import anchors_at, around, base_anchors
from resnet_pipe.head.detectors.boxes import Candidates, best, clipped, joined, nms, shifted, sigmoid
from resnet_pipe.head.detectors.detector import Detector, Outputs, Placement, bounds
from resnet_pipe.head.detectors.pyramid import (
    CANDIDATES,
    CENTERNESS,
    DISTANCES,
    LOGITS,
    ONE_STAGE_LEVELS,
    above,
    all_named,
    named,
)

SIZES = {level: (2**level,) for level in ONE_STAGE_LEVELS}
"""Level -> size of its only anchor, in pixels."""
RATIOS = (1.0,)


class Fcos(Detector):
    """Reads `logits_p3` to `_p7` (n, classes, height, width).

    It reads `distances_p3` to `_p7` (n, 4, ...) and `centerness_p3` to `_p7` (n, 1, ...) as well.
    The score is the root of the class's probability times that of the centre.
    """

    READS = all_named(*((what, ONE_STAGE_LEVELS) for what in (LOGITS, DISTANCES, CENTERNESS)))

    def candidates(self, outputs: Outputs, placement: Placement, input_size: tuple[int, int]) -> Candidates:
        """Return the detections of an item."""
        inside, least = bounds(placement, input_size), self.settings.score
        parts = []
        for level in ONE_STAGE_LEVELS:
            logits = self.output(outputs, named(LOGITS, level))[None]
            if logits.shape[1] != self.settings.classes:
                raise self.unexpected(f"tells {logits.shape[1]} classes apart")
            central = sigmoid(self.output(outputs, named(CENTERNESS, level))[0])
            places = above(logits, least**2, self.settings.only)
            scores = np.sqrt(sigmoid(logits[places]) * central[places.y, places.x])
            enough = np.flatnonzero(scores > np.float32(least))
            chosen = enough[best(scores[enough], CANDIDATES)]
            which, label, y, x = places.at(chosen)
            base = base_anchors(SIZES[level], RATIOS)
            anchors = anchors_at(base, which, y, x, logits.shape[2:], input_size)
            boxes = around(self.output(outputs, named(DISTANCES, level))[:, y, x].T, anchors)
            parts.append(Candidates(clipped(boxes, inside), scores[chosen], label))
        found = joined(parts)
        return found.at(nms(shifted(found), self.settings.nms, self.settings.max_detections))
