"""What a sidecar says of a network that finds objects: how its outputs become boxes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from resnet_pipe.model.depths import DEPTHS, faster_rcnn

Kind = Literal["yolo5", "yolo", "yolo_end_to_end", "detr", "rt_detr", "faster_rcnn", "retinanet", "fcos"]
"""What the outputs of a network mean. yolo5 has an objectness, yolo has none, yolo_end_to_end no NMS."""
FASTER_RCNNS = {faster_rcnn(depth): depth for depth in DEPTHS}
"""torchvision's Faster R-CNNs, version 1, by name -> the depth of their ResNet."""
OF_TORCHVISION = (
    *FASTER_RCNNS,
    "fasterrcnn_resnet50_fpn_v2",
    "retinanet_resnet50_fpn",
    "retinanet_resnet50_fpn_v2",
    "fcos_resnet50_fpn",
)
"""torchvision's detectors with a ResNet, by its names."""
WITH_FEATURES: frozenset[Kind] = frozenset({"detr", "rt_detr", "faster_rcnn", "retinanet", "fcos"})
"""The kinds that are converted with an output `features`; a YOLO stays as it is."""
BACKGROUND = "__background__"
"""What torchvision calls class 0 of its detectors: no object."""
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1000)]
MEANINGS = {
    "kind": "what the outputs of a network that finds objects mean",
    "score": "boxes have a score above this, 0 to 1",
    "nms": "of two boxes of a class that overlap by more than this (IoU, 0 to 1), the better one is kept",
    "max_detections": "boxes of an item, the best ones",
}


_USUAL_NMS: dict[Kind, float] = {"yolo5": 0.45, "yolo_end_to_end": 1.0}
"""Of those kinds that are not like the others."""


class Detection(BaseModel):
    """The section `detection` of a sidecar: the kind, and which boxes its source keeps."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: Annotated[Kind, Field(description=MEANINGS["kind"])]
    score: Annotated[Share, Field(description=MEANINGS["score"])]
    nms: Annotated[Share, Field(description=MEANINGS["nms"])]
    max_detections: Annotated[Count, Field(description=MEANINGS["max_detections"])]

    def describe(self) -> str:
        """Return in words which boxes are kept unless a job says otherwise."""
        return (
            f"{self.kind}; score above {self.score:g}, overlap (IoU) up to {self.nms:g},"
            f" at most {self.max_detections} an item"
        )


def usual(kind: Kind) -> Detection:
    """Return which boxes are kept if no file says it: those that `predict` of ultralytics keeps of a YOLO."""
    return Detection(kind=kind, score=0.25, nms=_USUAL_NMS.get(kind, 0.7), max_detections=300)
