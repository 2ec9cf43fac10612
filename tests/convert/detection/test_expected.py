"""A detector that torchvision's own functions would not build is refused, and what is different is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from resnet_pipe.convert.detection.cut import cut
from resnet_pipe.errors import ModelError

RATIOS = ((0.5, 1.0, 2.0),) * 5


def _two_stages(**changes: Any) -> nn.Module:  # noqa: ANN401
    model: nn.Module = detection.FasterRCNN(
        resnet_fpn_backbone(backbone_name="resnet18", weights=None), 3, **changes
    )
    return model


def _one_stage(made: Callable[..., nn.Module], **changes: Any) -> nn.Module:  # noqa: ANN401
    extra = LastLevelP6P7(256, 256)
    backbone = resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, returned_layers=[2, 3, 4], extra_blocks=extra
    )
    model: nn.Module = made(backbone, 3, **changes)
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: _two_stages(
                rpn_anchor_generator=AnchorGenerator(
                    tuple((side,) for side in (16, 32, 64, 128, 256)), RATIOS
                )
            ),
            r"rpn anchor sizes is \(\(16,\), .*, not \(\(32,\)",
        ),
        (
            lambda: _two_stages(bbox_reg_weights=(1.0, 1.0, 1.0, 1.0)),
            r"bbox_reg_weights is \(1.0, 1.0, 1.0, 1.0\), not \(10.0, 10.0, 5.0, 5.0\)",
        ),
        (lambda: _two_stages(rpn_post_nms_top_n_test=300), "rpn_post_nms_top_n_test is 300, not 1000"),
        (lambda: _two_stages(rpn_nms_thresh=0.5), r"rpn_nms_thresh is 0.5, not 0.7"),
        (
            lambda: _two_stages(box_roi_pool=MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 0)),
            "box_roi_pool.sampling_ratio is 0, not 2",
        ),
        (lambda: _one_stage(detection.RetinaNet, topk_candidates=50), "topk_candidates is 50, not 1000"),
        (
            lambda: _one_stage(
                detection.FCOS,
                anchor_generator=AnchorGenerator(tuple((8,) for _ in range(5)), ((1.0,),) * 5),
            ),
            "fcos anchor sizes is",
        ),
        (
            lambda: detection.RetinaNet(resnet_fpn_backbone(backbone_name="resnet18", weights=None), 3),
            "backbone.fpn.extra_blocks is LastLevelMaxPool, not LastLevelP6P7",
        ),
        (
            lambda: detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None),
            "a SSD is no detector that can be converted",
        ),
        (
            lambda: detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None),
            "a MaskRCNN is no detector that can be converted",
        ),
        (
            lambda: detection.fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None),
            "backbone.body.return_layers is",
        ),
    ],
)
def test_what_is_different_is_named(make: Callable[[], nn.Module], message: str) -> None:
    with torch.device("meta"):
        model = make()
    with pytest.raises(ModelError, match=message):
        cut(model)
