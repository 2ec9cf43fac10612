"""Detections of torchvision's Faster R-CNN, cut into two networks.

The first gives the maps of the feature pyramid, and for each level the logits and deltas of its anchors: the
best of them are proposals. The second gives logits and deltas for what each proposal sees of the maps.
Orders, limits and formulas: `torchvision/models/detection/rpn.py` and `roi_heads.py`, 0.29.
"""

from __future__ import annotations

import numpy as np

from resnet_pipe.head.detectors.anchors import anchors_at, base_anchors, decoded
from resnet_pipe.head.detectors.boxes import (
    Candidates,
    Floats,
    at_least,
    best,
    clipped,
    joined,
    nms,
    shifted,
    sigmoid,
    softmax,
)
from resnet_pipe.head.detectors.detector import Detector, Outputs, Placement, bounds
from resnet_pipe.head.detectors.pyramid import CANDIDATES, DELTAS, FEATURES, LOGITS, all_named, named, split
from resnet_pipe.head.detectors.roi_align import roi_align

SIZES = {2: (32,), 3: (64,), 4: (128,), 5: (256,), 6: (512,)}
"""Level -> sizes of its anchors, in pixels."""
RATIOS = (0.5, 1.0, 2.0)
"""Height by width of anchors."""
POOLED_LEVELS = (2, 3, 4, 5)
"""The levels whose maps proposals are pooled from."""
PROPOSALS = 1000
"""At most, for an image."""
PROPOSAL_NMS = 0.7
PROPOSAL_SIDE = 1e-3
"""Of proposals, in pixels, at least."""
PROPOSAL_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""What the deltas of the box head were multiplied by in training."""
_SIDE = 1e-2
"""Of a detection's box, in pixels, at least."""


class FasterRcnn(Detector):
    """Reads `features_p2` to `_p5`, `logits_p2` to `_p6` and `deltas_p2` to `_p6`.

    The second network is given float32 (proposals, channels, 7, 7), at most 1,000 at a time and never none,
    and gives `logits` (proposals, classes) with the background first, and `deltas` (proposals, 4 * classes).
    """

    READS = all_named((FEATURES, POOLED_LEVELS), (LOGITS, SIZES), (DELTAS, SIZES))

    def candidates(self, outputs: Outputs, placement: Placement, input_size: tuple[int, int]) -> Candidates:
        """Return the detections of an item."""
        inside = bounds(placement, input_size)
        proposals = self._proposals(outputs, inside, input_size)
        self.laps.end("proposals")
        if not len(proposals):
            return Candidates(proposals, np.zeros(0, np.float32), np.arange(0))
        maps = [self.output(outputs, named(FEATURES, level)) for level in POOLED_LEVELS]
        assert self.network is not None  # noqa: S101 - the registry sees to it
        seen = roi_align(maps, POOLED_LEVELS[0], proposals)
        self.laps.end("roi_align")
        given = self.network(seen)
        self.laps.end("box_head")
        found = self._classified(self.output(given, LOGITS), self.output(given, DELTAS), proposals, inside)
        return found.at(nms(shifted(found), self.settings.nms, self.settings.max_detections))

    def _proposals(self, outputs: Outputs, inside: Floats, input_size: tuple[int, int]) -> Floats:
        """Return where something may be: float32 (n, 4), at most 1,000, the best first."""
        parts = []
        for level, sizes in SIZES.items():
            base = base_anchors(sizes, RATIOS)
            logits = self.output(outputs, named(LOGITS, level))
            deltas = split(self.output(outputs, named(DELTAS, level)), len(base))
            grid = logits.shape[1:]
            flat = logits.transpose(1, 2, 0).reshape(-1)
            chosen = best(flat, CANDIDATES)
            y, x, which = np.unravel_index(chosen, (*grid, len(base)))
            anchors = anchors_at(base, which, y, x, (grid[0], grid[1]), input_size)
            boxes = decoded(deltas[which, :, y, x], anchors, PROPOSAL_WEIGHTS)
            parts.append(Candidates(clipped(boxes, inside), sigmoid(flat[chosen]), np.full(len(y), level)))
        found = joined(parts)
        found = found.at(at_least(found.boxes, PROPOSAL_SIDE))
        # torchvision counts levels from 0 when it moves each one's boxes to a place of their own.
        compared = shifted(found._replace(labels=found.labels - min(SIZES)))
        return found.boxes[nms(compared, PROPOSAL_NMS, PROPOSALS)]

    def _classified(self, logits: Floats, deltas: Floats, proposals: Floats, inside: Floats) -> Candidates:
        """Return every class of every proposal that scores enough, without the background."""
        if logits.shape[1] != self.settings.classes:
            raise self.unexpected(f"tells {logits.shape[1]} classes apart, with the background")
        scores = softmax(logits)
        scores[:, 0] = 0
        which, label = np.nonzero(scores > np.float32(self.settings.score))
        boxes = decoded(deltas.reshape(len(deltas), -1, 4)[which, label], proposals[which], BOX_WEIGHTS)
        found = Candidates(clipped(boxes, inside), scores[which, label], label)
        return found.at(at_least(found.boxes, _SIDE)).of(self.settings.only)
