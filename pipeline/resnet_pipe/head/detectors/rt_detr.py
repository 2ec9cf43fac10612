"""Detections of RT-DETR: the best pairs of query and class, as in transformers' `RTDetrImageProcessor`."""

from __future__ import annotations

import numpy as np

from resnet_pipe.head.detectors.boxes import Candidates, best, sigmoid
from resnet_pipe.head.detectors.detector import Detector, Outputs, Placement
from resnet_pipe.head.detectors.detr import QUERY_BOXES, QUERY_LOGITS, placed


class RtDetr(Detector):
    """Reads `logits` (n, queries, classes) and `pred_boxes` (n, queries, 4), as DETR's.

    Each class of a query is a pair of its own, and there are as many detections as queries at most.
    """

    READS = (QUERY_LOGITS, QUERY_BOXES)

    def candidates(self, outputs: Outputs, placement: Placement, input_size: tuple[int, int]) -> Candidates:
        """Return the detections of an item."""
        logits = self.output(outputs, QUERY_LOGITS)
        if logits.shape[-1] != self.settings.classes:
            raise self.unexpected(f"gives {logits.shape[-1]} logits for a query")
        boxes = placed(self.output(outputs, QUERY_BOXES), placement)
        scores = sigmoid(logits)
        query, label = np.nonzero(scores > np.float32(self.settings.score))
        found = Candidates(boxes[query], scores[query, label], label).of(self.settings.only)
        return found.at(best(found.scores, len(logits)))
