"""Detections of YOLO networks, as ultralytics exports them: one output, boxes in pixels of the input.

The rules are those of its `non_max_suppression` with `multi_label=False`: each box has the class that is
best, and boxes of different classes never suppress each other.
"""

from __future__ import annotations

import numpy as np

from resnet_pipe.head.detectors.boxes import Candidates, Floats, Indices, corners, nms
from resnet_pipe.head.detectors.detector import Detector, Outputs, Placement


class Yolo(Detector):
    """Reads (n, 4 + classes, boxes): centre x, centre y, width, height, and each class's score."""

    def candidates(self, outputs: Outputs, placement: Placement, input_size: tuple[int, int]) -> Candidates:
        """Return the detections of an item."""
        values = _only(self, outputs)
        if values.shape[0] != 4 + self.settings.classes:
            raise self.unexpected(f"gives {values.shape[0]} numbers for a box")
        label = values[4:].argmax(axis=0)
        scores = np.take_along_axis(values[4:], label[None], axis=0)[0]
        return _surviving(self, values[:4].T, scores, label)


class Yolo5(Detector):
    """Reads (n, boxes, 5 + classes): centre x, centre y, width, height, objectness, and each class's score.

    A box's score is the class's times the objectness.
    """

    def candidates(self, outputs: Outputs, placement: Placement, input_size: tuple[int, int]) -> Candidates:
        """Return the detections of an item."""
        values = _only(self, outputs)
        if values.shape[-1] != 5 + self.settings.classes:
            raise self.unexpected(f"gives {values.shape[-1]} numbers for a box")
        values = values[values[:, 4] > np.float32(self.settings.score)]  # no class makes it more
        products = values[:, 5:] * values[:, 4:5]
        label = products.argmax(axis=1)
        return _surviving(self, values[:, :4], products[np.arange(len(label)), label], label)


class YoloEndToEnd(Detector):
    """Reads (n, boxes, 6): x1, y1, x2, y2, score, class; the network itself has dropped what overlaps."""

    def candidates(self, outputs: Outputs, placement: Placement, input_size: tuple[int, int]) -> Candidates:
        """Return the detections of an item."""
        values = _only(self, outputs)
        if values.shape[-1] != 6:
            raise self.unexpected(f"gives {values.shape[-1]} numbers for a box")
        values = values[values[:, 4] > np.float32(self.settings.score)]
        label = values[:, 5]
        if len(unknown := label[(label < 0) | (label >= self.settings.classes)]):
            raise self.unexpected(f"gives class {unknown[0]:g}")
        found = Candidates(values[:, :4], values[:, 4], label.astype(np.intp)).of(self.settings.only)
        return found.at(np.argsort(-found.scores, kind="stable"))


def _only(detector: Detector, outputs: Outputs) -> Floats:
    """Return an item's only output, (rows, columns)."""
    values = next(iter(outputs.values()))
    if len(outputs) != 1 or values.ndim != 2:
        shapes = ", ".join(f"{name} {one.shape}" for name, one in outputs.items())
        raise detector.unexpected(f"gives {shapes} for an image")
    return values


def _surviving(detector: Detector, boxes: Floats, scores: Floats, label: Indices) -> Candidates:
    """Return what scores enough and survives, of boxes by centre and size."""
    settings = detector.settings
    enough = scores > np.float32(settings.score)
    found = Candidates(corners(boxes[enough]), scores[enough], label[enough]).of(settings.only)
    return found.at(nms(found, settings.nms, settings.max_detections))
