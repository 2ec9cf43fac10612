"""A torchvision detector cut into the networks that engines execute, and how to read their outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from resnet_pipe.convert.detection.expected import kind_of
from resnet_pipe.convert.export import export
from resnet_pipe.convert.graph import INPUT, finish
from resnet_pipe.convert.simplify import simplified
from resnet_pipe.head.classify import FEATURES
from resnet_pipe.head.detectors.pyramid import DELTAS, LOGITS
from resnet_pipe.head.detectors.registry import DETECTORS
from resnet_pipe.head.detectors.roi_align import SIDE
from resnet_pipe.head.detectors.settings import DetectorSettings

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import nn

MULTIPLE = 32
"""Height and width of the first network's input are multiples of this."""
_SIZE = (4 * MULTIPLE, 5 * MULTIPLE)
"""Of the images that the network is exported with, and that leave no trace."""


class Cut(NamedTuple):
    """A detector in pieces.

    Attributes:
        settings: what its outputs mean, and which detections it keeps.
        network: images, float32 (N, 3, H, W) with H and W multiples of 32, to the maps of each level, and to
            `features`, (N, channels).
        box_head: what proposals see, float32 (R, 256, 7, 7), to `logits` and `deltas`; None with one stage.
    """

    settings: DetectorSettings
    network: ModelProto
    box_head: ModelProto | None


def cut(model: nn.Module) -> Cut:
    """Return the networks of a FasterRCNN, RetinaNet or FCOS of torchvision, which is left as it was.

    The names of their outputs are those that `head.detectors` reads.

    Raises:
        ModelError: it is none of these, or differs from them in more than weights and the number of classes.
    """
    from resnet_pipe.convert.detection.networks import BoxHead, FirstStage, OneStage

    kind, detector = kind_of(model), _untyped(model)
    if kind == "faster_rcnn":
        heads = detector.roi_heads
        kept = (heads.score_thresh, heads.nms_thresh, heads.detections_per_img)
        classes = heads.box_predictor.cls_score.out_features
        network = _graph(FirstStage(detector), [*DETECTORS[kind].READS, FEATURES])
        box_head = _static(BoxHead(detector), (SIDE, SIDE), [LOGITS, DELTAS], detector.backbone.out_channels)
        return Cut(DetectorSettings(kind, classes, *kept), network, box_head)
    kept = (detector.score_thresh, detector.nms_thresh, detector.detections_per_img)
    classes = detector.head.classification_head.num_classes
    network = _graph(OneStage(detector), [*DETECTORS[kind].READS, FEATURES])
    return Cut(DetectorSettings(kind, classes, *kept), network, None)


def _untyped(model: nn.Module) -> Any:  # noqa: ANN401 - torch's modules hide what they hold
    return model


def _static(network: nn.Module, size: tuple[int, int], names: Sequence[str], channels: int = 3) -> ModelProto:
    proto = simplified(export(network, size, channels=channels, outputs=names))
    finish(proto)
    return proto


def _graph(network: nn.Module, names: Sequence[str]) -> ModelProto:
    """Return a network of maps for images of any size: none of its operators holds the exported one."""
    proto = _static(network, _SIZE, names)
    for value in (*proto.graph.input, *(one for one in proto.graph.output if one.name != FEATURES)):
        for axis, name in zip(value.type.tensor_type.shape.dim[2:], ("height", "width"), strict=True):
            axis.Clear()
            axis.dim_param = name if value.name == INPUT else f"{name}_of_{value.name}"
    return proto
