"""Detections of torchvision's networks are its own, whatever the maps say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet_pipe.errors import ModelError
from resnet_pipe.head.detectors.pyramid import CENTERNESS, DELTAS, DISTANCES, FEATURES, LOGITS, named
from resnet_pipe.head.detectors.registry import detector
from resnet_pipe.head.detectors.settings import DetectorSettings
from resnet_pipe.model.detection import Kind

torch = pytest.importorskip("torch", reason="needs the extra `convert`")
detection = pytest.importorskip("torchvision.models.detection", reason="needs the extra `convert`")

Floats = NDArray[np.float32]
CLASSES = 5
SIZE = (128, 192)
PLACES = np.array([[0, 0, 180, 120], [0, 0, 192, 101]], np.int32)
GRIDS = {2: (32, 48), 3: (16, 24), 4: (8, 12), 5: (4, 6), 6: (2, 3), 7: (1, 2)}
"""Level -> height and width of its maps."""
KINDS: dict[Kind, tuple[range, dict[str, tuple[int, float, float]]]] = {
    "retinanet": (range(3, 8), {LOGITS: (9 * CLASSES, 1.5, -3), DELTAS: (36, 0.3, 0)}),
    "fcos": (range(3, 8), {LOGITS: (CLASSES, 2, -1), DISTANCES: (4, 1, 2), CENTERNESS: (1, 1, 0)}),
    "faster_rcnn": (range(2, 7), {LOGITS: (3, 3, 0), DELTAS: (12, 0.3, 0)}),
}
"""Kind -> its levels, and for each kind of map: its channels, and mean and deviation of the values."""


def _maps(kind: Kind) -> dict[str, Floats]:
    """Return the outputs of a network for two images."""
    random = np.random.default_rng(len(kind))
    levels, described = KINDS[kind]
    made = {
        named(what, level): random.normal(mean, deviation, (2, channels, *GRIDS[level]))
        for what, (channels, deviation, mean) in described.items()
        for level in levels
    }
    if kind == "faster_rcnn":
        made |= {named(FEATURES, level): random.normal(0, 1, (2, 8, *GRIDS[level])) for level in range(2, 6)}
    if kind == "fcos":  # its network has a ReLU there
        made |= {name: values.clip(0) for name, values in made.items() if name.startswith(DISTANCES)}
    return {name: values.astype(np.float32) for name, values in made.items()}


def _settings(kind: Kind, **changes: object) -> DetectorSettings:
    given = {"score": 0.2, "nms": 0.5, "max_detections": 60, "only": (), **changes}
    return DetectorSettings(kind, CLASSES, **given)  # type: ignore[arg-type]


class _BoxHead(torch.nn.Module):  # type: ignore[misc, name-defined]
    """A box head of random weights, also as a detector calls it."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.logits, self.deltas = (
            torch.randn(8 * 49, width, generator=generator) * scale
            for width, scale in ((CLASSES, 0.3), (4 * CLASSES, 0.05))
        )

    def forward(self, pooled: Any) -> tuple[Any, Any]:  # noqa: ANN401
        seen = pooled.flatten(1)
        return seen @ self.logits, seen @ self.deltas

    def network(self, pooled: Floats) -> Mapping[str, Floats]:
        logits, deltas = self(torch.from_numpy(pooled))
        return {LOGITS: logits.numpy(), DELTAS: deltas.numpy()}


def _expected(kind: Kind, maps: dict[str, Floats], item: int) -> Floats:
    """Return torchvision's own detections of an image, (n, 6), from the same maps."""
    mine = {name: torch.from_numpy(values[item : item + 1]) for name, values in maps.items()}
    images = detection.image_list.ImageList(
        torch.zeros(1, 3, *SIZE), [(int(PLACES[item, 3]), int(PLACES[item, 2]))]
    )
    levels, described = KINDS[kind]
    backbone = torch.nn.Identity()
    backbone.out_channels = 8
    if kind == "faster_rcnn":
        heads = {"box_head": _BoxHead(), "box_predictor": torch.nn.Identity()}
        model = detection.FasterRCNN(backbone, None, **heads, **_named(kind))
        model.rpn.head.forward = lambda _: [
            [mine[named(what, level)] for level in levels] for what in (LOGITS, DELTAS)
        ]
        features = {str(number): mine[named(FEATURES, level)] for number, level in enumerate(range(2, 6))}
        features["pool"] = torch.zeros(1, 8, *GRIDS[6])
        proposals, _ = model.eval().rpn(images, features)
        (found,), _ = model.roi_heads(features, proposals, images.image_sizes)
    else:
        made = {"retinanet": detection.RetinaNet, "fcos": detection.FCOS}[kind]
        model = made(backbone, CLASSES, head=torch.nn.Identity(), **_named(kind)).eval()
        names = {DELTAS: "bbox_regression", DISTANCES: "bbox_regression", LOGITS: "cls_logits"}
        outputs = {
            names.get(what, "bbox_ctrness"): [_rows(mine[named(what, level)], what) for level in levels]
            for what in described
        }
        grids = [mine[named(LOGITS, level)] for level in levels]
        (anchors,) = model.anchor_generator(images, grids)
        counts = [len(values[0]) for values in outputs["bbox_regression"]]
        (found,) = model.postprocess_detections(outputs, [anchors.split(counts)], images.image_sizes)
    columns = (found["boxes"].numpy(), found["scores"].numpy(), found["labels"].numpy())
    return np.column_stack(columns).astype(np.float32)


def _named(kind: Kind) -> dict[str, Any]:
    """Return the settings under torchvision's names."""
    settings, prefix = _settings(kind), "box_" if kind == "faster_rcnn" else ""
    return {
        f"{prefix}score_thresh": settings.score,
        f"{prefix}nms_thresh": settings.nms,
        f"{prefix}detections_per_img": settings.max_detections,
    }


def _rows(values: Any, what: str) -> Any:  # noqa: ANN401 - tensors, if torch is installed
    """Return a map (1, anchors * k, height, width) as torchvision's heads do: (1, places, k)."""
    width = {LOGITS: CLASSES, CENTERNESS: 1}.get(what, 4)
    count, _, height, length = values.shape
    return values.view(count, -1, width, height, length).permute(0, 3, 4, 1, 2).reshape(count, -1, width)


@pytest.mark.parametrize("kind", KINDS)
def test_detections_are_those_of_torchvision(kind: Kind) -> None:
    maps = _maps(kind)
    found = detector(_settings(kind), _BoxHead().network).detect(maps, PLACES, SIZE)
    for item in range(2):
        expected = _expected(kind, maps, item)
        assert len(expected) > 20
        assert found[item, : len(expected)] == pytest.approx(expected, abs=2e-3)
        assert not found[item, len(expected) :].any()


@pytest.mark.parametrize("kind", KINDS)
def test_what_else_is_in_the_batch_makes_no_difference(kind: Kind) -> None:
    maps, made = _maps(kind), detector(_settings(kind), _BoxHead().network)
    second = {name: values[1:] for name, values in maps.items()}
    assert np.array_equal(made.detect(maps, PLACES, SIZE)[1:], made.detect(second, PLACES[1:], SIZE))


@pytest.mark.parametrize("kind", KINDS)
def test_other_classes_take_no_detections_place(kind: Kind) -> None:
    maps, head = _maps(kind), _BoxHead().network
    every = detector(_settings(kind, max_detections=2000), head).detect(maps, PLACES, SIZE)
    some = detector(_settings(kind, only=(2, 4), max_detections=5), head).detect(maps, PLACES, SIZE)
    for found, all_of_it in zip(some, every, strict=True):
        assert found.tolist() == all_of_it[np.isin(all_of_it[:, 5], (2, 4))][:5].tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_end_where_the_image_ends(kind: Kind) -> None:
    maps, place = _maps(kind), np.array([[20, 10, 90, 70], [-8, -8, 208, 144]], np.int32)
    one, all_of_it = detector(_settings(kind), _BoxHead().network).detect(maps, place, SIZE)
    boxes = one[one[:, 4] > 0, :4]
    assert (boxes.min(axis=0)[:2].tolist(), boxes.max(axis=0)[2:].tolist()) == ([20, 10], [110, 80])
    boxes = all_of_it[all_of_it[:, 4] > 0, :4]
    assert (boxes.min(axis=0)[:2].tolist(), boxes.max(axis=0)[2:].tolist()) == ([0, 0], [192, 128])


def test_nothing_is_found_where_no_proposal_has_an_area() -> None:
    maps = _maps("faster_rcnn")
    nowhere = np.zeros((2, 4), np.int32)
    assert not detector(_settings("faster_rcnn"), _BoxHead().network).detect(maps, nowhere, SIZE).any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_for_other_classes_is_refused(kind: Kind) -> None:
    made = detector(DetectorSettings(kind, CLASSES + 1, 0.2, 0.5, 60), _BoxHead().network)
    with pytest.raises(ModelError, match=f"tells {CLASSES} classes apart.*for {CLASSES + 1} classes"):
        made.detect(_maps(kind), PLACES, SIZE)


def test_without_its_second_network_there_is_no_detector() -> None:
    with pytest.raises(ModelError, match="needs its second network"):
        detector(_settings("faster_rcnn"))
