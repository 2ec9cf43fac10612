"""What a torchvision detector must be like, to be what `head.detectors` makes detections of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from resnet_pipe.errors import ModelError
from resnet_pipe.head.detectors import faster_rcnn, fcos, pyramid, retinanet
from resnet_pipe.head.detectors.roi_align import SIDE
from resnet_pipe.model.detection import Kind

if TYPE_CHECKING:
    from torch import nn

_Check = tuple[str, object, object]
"""The name of a setting, what it is, and what it must be."""


def kind_of(model: nn.Module) -> Kind:
    """Return what a detector of torchvision is; a `ModelError` names what it does otherwise than usual."""
    from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet

    checks: dict[type, tuple[Kind, Any]] = {
        FasterRCNN: ("faster_rcnn", _faster_rcnn),
        RetinaNet: ("retinanet", _retinanet),
        FCOS: ("fcos", _fcos),
    }
    if type(model) not in checks:
        raise ModelError(
            f"a {type(model).__name__} is no detector that can be converted",
            "give a FasterRCNN, a RetinaNet or an FCOS of torchvision",
        )
    kind, check = checks[type(model)]
    wrong = [
        f"  {name} is {found}, not {must}"
        for name, found, must in (*_body(model), *check(model))
        if found != must
    ]
    if wrong:
        lines = "\n".join(wrong)
        raise ModelError(
            f"this {type(model).__name__} is not built as torchvision builds it:\n{lines}",
            "only weights and the number of classes may differ",
        )
    return kind


def _body(model: Any) -> Iterator[_Check]:  # noqa: ANN401 - torchvision's classes have no types
    name = type(model.backbone).__name__
    yield "backbone", name, "BackboneWithFPN"
    if name == "BackboneWithFPN":
        body, blocks = model.backbone.body, type(model.backbone.fpn.extra_blocks).__name__
        two = hasattr(model, "rpn")
        levels = faster_rcnn.POOLED_LEVELS if two else pyramid.ONE_STAGE_LEVELS[:3]
        returned = {f"layer{level - 1}": str(number) for number, level in enumerate(levels)}
        yield "backbone.body.return_layers", dict(body.return_layers), returned
        yield "backbone.fpn.extra_blocks", blocks, "LastLevelMaxPool" if two else "LastLevelP6P7"


def _faster_rcnn(model: Any) -> Iterator[_Check]:  # noqa: ANN401
    rpn, heads = model.rpn, model.roi_heads
    yield from _anchors("rpn", rpn.anchor_generator, faster_rcnn.SIZES, faster_rcnn.RATIOS)
    yield "rpn.box_coder.weights", tuple(rpn.box_coder.weights), faster_rcnn.PROPOSAL_WEIGHTS
    yield "rpn_pre_nms_top_n_test", rpn._pre_nms_top_n["testing"], pyramid.CANDIDATES
    yield "rpn_post_nms_top_n_test", rpn._post_nms_top_n["testing"], faster_rcnn.PROPOSALS
    yield "rpn_nms_thresh", rpn.nms_thresh, faster_rcnn.PROPOSAL_NMS
    yield "rpn_score_thresh", rpn.score_thresh, 0.0
    yield "bbox_reg_weights", tuple(heads.box_coder.weights), faster_rcnn.BOX_WEIGHTS
    pool = heads.box_roi_pool
    yield "box_roi_pool.featmap_names", list(pool.featmap_names), ["0", "1", "2", "3"]
    yield "box_roi_pool.output_size", tuple(pool.output_size), (SIDE, SIDE)
    yield "box_roi_pool.sampling_ratio", pool.sampling_ratio, 2
    yield "box_roi_pool.canonical_scale", (pool.canonical_scale, pool.canonical_level), (224, 4)


def _retinanet(model: Any) -> Iterator[_Check]:  # noqa: ANN401
    yield from _anchors("retinanet", model.anchor_generator, retinanet.SIZES, retinanet.RATIOS)
    yield "box_coder.weights", tuple(model.box_coder.weights), retinanet.WEIGHTS
    yield "topk_candidates", model.topk_candidates, pyramid.CANDIDATES


def _fcos(model: Any) -> Iterator[_Check]:  # noqa: ANN401
    yield from _anchors("fcos", model.anchor_generator, fcos.SIZES, fcos.RATIOS)
    yield "box_coder.normalize_by_size", model.box_coder.normalize_by_size, True
    yield "topk_candidates", model.topk_candidates, pyramid.CANDIDATES


def _anchors(
    place: str,
    generator: Any,  # noqa: ANN401
    sizes: Mapping[int, tuple[int, ...]],
    ratios: tuple[float, ...],
) -> Iterator[_Check]:
    yield f"{place} anchor sizes", tuple(map(tuple, generator.sizes)), tuple(sizes.values())
    yield f"{place} anchor ratios", tuple(map(tuple, generator.aspect_ratios)), (ratios,) * len(sizes)
