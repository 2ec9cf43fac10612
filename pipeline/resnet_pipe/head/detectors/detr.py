"""Detections of DETR: each query is one class or none, as in transformers' `DetrImageProcessor`."""

from __future__ import annotations

import numpy as np

from resnet_pipe.head.detectors.boxes import Candidates, Floats, corners, softmax
from resnet_pipe.head.detectors.detector import Detector, Outputs, Placement

QUERY_LOGITS, QUERY_BOXES = "logits", "pred_boxes"
"""Names of the outputs: (n, queries, columns) and (n, queries, 4)."""


class Detr(Detector):
    """Reads `logits` (n, queries, classes + 1), no object last, and `pred_boxes` (n, queries, 4).

    The boxes are centre x, centre y, width and height in parts of the image's own width and height.
    """

    READS = (QUERY_LOGITS, QUERY_BOXES)

    def candidates(self, outputs: Outputs, placement: Placement, input_size: tuple[int, int]) -> Candidates:
        """Return the detections of an item."""
        logits = self.output(outputs, QUERY_LOGITS)
        if logits.shape[-1] != self.settings.classes + 1:
            raise self.unexpected(f"gives {logits.shape[-1]} logits for a query, no object included")
        probabilities = softmax(logits)[:, :-1]
        label = probabilities.argmax(axis=1)
        scores = probabilities[np.arange(len(label)), label]
        boxes = placed(self.output(outputs, QUERY_BOXES), placement)
        found = Candidates(boxes, scores, label).at(scores > np.float32(self.settings.score))
        found = found.of(self.settings.only)
        return found.at(np.argsort(-found.scores, kind="stable"))


def placed(boxes: Floats, placement: Placement) -> Floats:
    """Return boxes (n, 4), by centre and size in parts of an image, as corners in pixels of the input."""
    left, top, width, height = placement.astype(np.float32)
    scale = np.asarray([width, height, width, height], np.float32)
    return corners(boxes) * scale + np.asarray([left, top, left, top], np.float32)
