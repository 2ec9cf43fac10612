"""Detections of YOLO networks, against the rules written plainly, one box after the other."""

from __future__ import annotations

import re

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet_pipe.errors import ModelError
from resnet_pipe.head.detectors.registry import detector
from resnet_pipe.head.detectors.settings import DetectorSettings
from resnet_pipe.model.detection import Kind

pytestmark = pytest.mark.cv2

Floats = NDArray[np.float32]
CLASSES = 5
SIZE = (320, 320)
PLACES = np.tile(np.array([0, 40, 320, 240], np.int32), (2, 1))


def _settings(kind: Kind, **changes: object) -> DetectorSettings:
    given = {"score": 0.25, "nms": 0.45, "max_detections": 30, "only": (), **changes}
    return DetectorSettings(kind, CLASSES, **given)  # type: ignore[arg-type]


def _outputs(count: int = 300) -> tuple[Floats, Floats, Floats]:
    """Return boxes by centre and size, objectness, and scores of classes: (2, n, 4), (2, n), (2, n, 5)."""
    random = np.random.default_rng(count)
    centres, sides = random.uniform(0, 320, (2, count, 2)), random.uniform(5, 120, (2, count, 2))
    boxes = np.concatenate([centres, sides], axis=2)
    scores = random.uniform(0, 1, (2, count, CLASSES)) ** 3
    return (
        boxes.astype(np.float32),
        random.uniform(0, 1, (2, count)).astype(np.float32),
        scores.astype(np.float32),
    )


def _plainly(boxes: Floats, scores: Floats, settings: DetectorSettings) -> list[list[float]]:
    """Return an image's detections, of boxes (n, 4) by centre and size, and scores (n, classes)."""
    found = []
    for (x, y, width, height), values in zip(boxes.tolist(), scores.tolist(), strict=True):
        label = values.index(max(values))
        if values[label] > settings.score and (not settings.only or label in settings.only):
            corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
            found.append([*corners, values[label], label])
    kept: list[list[float]] = []
    for one in sorted(found, key=lambda row: -row[4]):
        if all(other[5] != one[5] or _overlap(other, one) <= settings.nms for other in kept):
            kept.append(one)
    return kept[: settings.max_detections]


def _overlap(one: list[float], other: list[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


def _assert_are(found: Floats, expected: list[list[float]]) -> None:
    assert len(expected) > 3
    assert found[: len(expected)] == pytest.approx(np.array(expected, np.float32), abs=1e-3)
    assert not found[len(expected) :].any()


@pytest.mark.parametrize(
    "changes", [{}, {"only": (1, 4)}, {"max_detections": 200, "score": 0.01}, {"nms": 0.1}]
)
def test_boxes_without_objectness(changes: dict[str, object]) -> None:
    settings = _settings("yolo", **changes)
    boxes, _, scores = _outputs()
    output = np.concatenate([boxes, scores], axis=2).transpose(0, 2, 1)
    found = detector(settings).detect({"output0": output}, PLACES, SIZE)
    assert found.shape == (2, settings.max_detections, 6)
    for item in range(2):
        _assert_are(found[item], _plainly(boxes[item], scores[item], settings))


@pytest.mark.parametrize("changes", [{}, {"only": (0,)}, {"max_detections": 200, "score": 0.01}])
def test_boxes_with_objectness(changes: dict[str, object]) -> None:
    settings = _settings("yolo5", **changes)
    boxes, objectness, scores = _outputs()
    output = np.concatenate([boxes, objectness[:, :, None], scores], axis=2)
    found = detector(settings).detect({"output": output}, PLACES, SIZE)
    for item in range(2):
        products = scores[item] * objectness[item][:, None]
        _assert_are(found[item], _plainly(boxes[item], products, settings))


def test_what_the_network_itself_has_chosen_is_only_sorted() -> None:
    row = [10.0, 20.0, 30.0, 40.0]
    output = np.array([[[*row, 0.5, 2], [*row, 0.9, 1], [*row, 0.1, 0], [*row, 0.8, 4]]], np.float32)
    found = detector(_settings("yolo_end_to_end")).detect({"output0": output}, PLACES[:1], SIZE)
    assert found[0, :3, 4:].tolist() == [[np.float32(0.9), 1], [np.float32(0.8), 4], [0.5, 2]]
    assert found[0, :3, :4].tolist() == [row] * 3
    assert not found[0, 3:].any()
    only = detector(_settings("yolo_end_to_end", only=(2,))).detect({"output0": output}, PLACES[:1], SIZE)
    assert only[0, :2, 5].tolist() == [2, 0]


def test_many_candidates_of_one_class_take_little_memory() -> None:
    import tracemalloc

    boxes = np.tile(np.array([160, 160, 100, 100], np.float32), (20_000, 1))
    output = np.concatenate([boxes, np.full((20_000, CLASSES), 0.5, np.float32)], axis=1).T[None]
    tracemalloc.start()
    found = detector(_settings("yolo", score=0.001)).detect({"output0": output}, PLACES[:1], SIZE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found[0, :2, 4].tolist() == [0.5, 0]
    assert peak < 20e6  # one matrix of all overlaps is 1,600 MB


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
        ("yolo", (9 + 32, 100), "gives 41 numbers for a box"),
        ("yolo5", (100, 9), "gives 9 numbers for a box"),
        ("yolo_end_to_end", (300, 38), "gives 38 numbers for a box"),
        ("yolo", (3, 20, 20, 10), re.escape("gives output0 (3, 20, 20, 10) for an image")),
    ],
)
def test_outputs_of_another_network_are_refused(kind: Kind, shape: tuple[int, ...], message: str) -> None:
    output = np.zeros((1, *shape), np.float32)
    with pytest.raises(ModelError, match=message):
        detector(_settings(kind)).detect({"output0": output}, PLACES[:1], SIZE)
