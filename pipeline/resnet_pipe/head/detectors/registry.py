"""The kinds of detection networks, and what reads each. A new one also goes into `model.detection.Kind`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnet_pipe.errors import NoBoxesError
from resnet_pipe.head.detectors import detector as detectors
from resnet_pipe.head.detectors.detector import Detector
from resnet_pipe.head.detectors.detr import Detr
from resnet_pipe.head.detectors.faster_rcnn import FasterRcnn
from resnet_pipe.head.detectors.fcos import Fcos
from resnet_pipe.head.detectors.retinanet import RetinaNet
from resnet_pipe.head.detectors.rt_detr import RtDetr
from resnet_pipe.head.detectors.settings import DetectorSettings
from resnet_pipe.head.detectors.yolo import Yolo, Yolo5, YoloEndToEnd
from resnet_pipe.head.output_choice import features_of

if TYPE_CHECKING:
    from resnet_pipe.model.detection import Kind
    from resnet_pipe.model.network import Network

DETECTORS: dict[Kind, type[Detector]] = {
    "yolo5": Yolo5,
    "yolo": Yolo,
    "yolo_end_to_end": YoloEndToEnd,
    "detr": Detr,
    "rt_detr": RtDetr,
    "faster_rcnn": FasterRcnn,
    "retinanet": RetinaNet,
    "fcos": Fcos,
}
TWO_STAGE: frozenset[Kind] = frozenset({"faster_rcnn"})
"""The kinds that have a second network, the box head."""


def kinds_of(network: Network) -> list[Kind]:
    """Return the kinds that a file may be of, by the names of its outputs, or the axes of its only one.

    It may have features beside these.
    """
    features = features_of(network)
    maps = {one.name: one.shape or () for one in network.of_images if one != features}
    lists = [len(shape) for shape in maps.values()] == [3]
    kinds = [kind for kind in DETECTORS if (kind in TWO_STAGE) == (network.second is not None)]
    reads = {kind: DETECTORS[kind].READS for kind in kinds}
    return [kind for kind in kinds if maps.keys() >= {*reads[kind]} and (reads[kind] or lists)]


def detector(settings: DetectorSettings, network: detectors.Network | None = None) -> Detector:
    """Return what makes detections of the outputs of a network of this kind.

    Args:
        settings: the kind, and which detections are kept.
        network: executes the second network, for the kinds of `TWO_STAGE`.

    Raises:
        NoBoxesError: the second network is missing.
    """
    if settings.kind in TWO_STAGE and network is None:
        raise NoBoxesError(f"a {settings.kind} needs its second network, the box head", "convert it again")
    return DETECTORS[settings.kind](settings, network)
