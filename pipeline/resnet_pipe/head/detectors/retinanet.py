"""Detections of torchvision's RetinaNet: `torchvision/models/detection/retinanet.py`, 0.29."""

from __future__ import annotations

import numpy as np

from resnet_pipe.head.detectors.anchors import anchors_at, base_anchors, decoded
from resnet_pipe.head.detectors.boxes import Candidates, best, clipped, joined, nms, shifted, sigmoid
from resnet_pipe.head.detectors.detector import Detector, Outputs, Placement, bounds
from resnet_pipe.head.detectors.pyramid import (
    CANDIDATES,
    DELTAS,
    LOGITS,
    ONE_STAGE_LEVELS,
    above,
    all_named,
    named,
    split,
)

SIZES = {
    level: tuple(int(2 ** (level + 2) * 2 ** (third / 3)) for third in range(3)) for level in ONE_STAGE_LEVELS
}
"""Level -> sizes of its anchors, in pixels: 32, 40 and 50 for the first."""
RATIOS = (0.5, 1.0, 2.0)
"""Height by width of anchors."""
WEIGHTS = (1.0, 1.0, 1.0, 1.0)


class RetinaNet(Detector):
    """Reads `logits_p3` to `_p7` (n, 9 * classes, height, width) and `deltas_p3` to `_p7` (n, 36, ...)."""

    READS = all_named((LOGITS, ONE_STAGE_LEVELS), (DELTAS, ONE_STAGE_LEVELS))

    def candidates(self, outputs: Outputs, placement: Placement, input_size: tuple[int, int]) -> Candidates:
        """Return the detections of an item."""
        inside, least = bounds(placement, input_size), self.settings.score
        parts = []
        for level in ONE_STAGE_LEVELS:
            base = base_anchors(SIZES[level], RATIOS)
            logits = split(self.output(outputs, named(LOGITS, level)), len(base))
            if logits.shape[1] != self.settings.classes:
                raise self.unexpected(f"tells {logits.shape[1]} classes apart")
            deltas = split(self.output(outputs, named(DELTAS, level)), len(base))
            places = above(logits, least, self.settings.only)
            scores = sigmoid(logits[places])
            enough = np.flatnonzero(scores > np.float32(least))
            chosen = enough[best(scores[enough], CANDIDATES)]
            which, label, y, x = places.at(chosen)
            anchors = anchors_at(base, which, y, x, logits.shape[2:], input_size)
            boxes = decoded(deltas[which, :, y, x], anchors, WEIGHTS)
            parts.append(Candidates(clipped(boxes, inside), scores[chosen], label))
        found = joined(parts)
        return found.at(nms(shifted(found), self.settings.nms, self.settings.max_detections))
