"""What a detector is told: which kind of network it reads, and which detections are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resnet_pipe.model.detection import Kind


@dataclass(frozen=True)
class DetectorSettings:
    """How detections are made.

    Attributes:
        kind: what the network's outputs mean.
        classes: how many class indices the network knows. torchvision's count a background, at index 0;
            DETR's last column, no object, is not counted.
        score: detections have more than this, from 0 to 1.
        nms: of two boxes of one class whose IoU is larger than this, the better one is kept, from 0 to 1.
        max_detections: so many of an item are kept, the best ones.
        only: the class indices to keep; empty for all. Other classes take no detection's place.
    """

    kind: Kind
    classes: int
    score: float
    nms: float
    max_detections: int
    only: tuple[int, ...] = ()
