"""Detections of DETR and RT-DETR are those of transformers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet_pipe.errors import ModelError
from resnet_pipe.head.detectors.registry import detector
from resnet_pipe.head.detectors.settings import DetectorSettings
from resnet_pipe.model.detection import Kind

torch = pytest.importorskip("torch", reason="needs the extra `convert`")
transformers = pytest.importorskip("transformers", reason="is for the tests alone")

Floats = NDArray[np.float32]
CLASSES = 6
QUERIES = 40
SIZE = (256, 320)
PLACES = np.array([[0, 0, 300, 200], [20, 28, 280, 200]], np.int32)


def _outputs(columns: int) -> dict[str, Floats]:
    random = np.random.default_rng(columns)
    logits = random.normal(0, 2, (2, QUERIES, columns)).astype(np.float32)
    return {"logits": logits, "pred_boxes": random.uniform(0, 1, (2, QUERIES, 4)).astype(np.float32)}


def _of_transformers(processor: str, outputs: dict[str, Floats], score: float) -> list[Floats]:
    """Return transformers' detections in pixels of the input, (n, 6) of each image, the best first."""
    given = SimpleNamespace(**{name: torch.from_numpy(values) for name, values in outputs.items()})
    sizes = [(int(height), int(width)) for _, _, width, height in PLACES]
    read = getattr(transformers, processor)().post_process_object_detection
    rows = []
    for place, found in zip(PLACES, read(given, score, sizes), strict=True):
        boxes = found["boxes"].numpy() + np.tile(place[:2], 2).astype(np.float32)
        order = torch.argsort(found["scores"], descending=True, stable=True).numpy()
        both = np.column_stack([boxes, found["scores"].numpy(), found["labels"].numpy()])
        rows.append(both[order].astype(np.float32))
    return rows


def _settings(kind: Kind, **changes: object) -> DetectorSettings:
    given = {"score": 0.4, "nms": 0.5, "max_detections": 100, "only": (), **changes}
    return DetectorSettings(kind, CLASSES, **given)  # type: ignore[arg-type]


CASES = [
    ("detr", CLASSES + 1, "DetrImageProcessor"),
    ("rt_detr", CLASSES, "RTDetrImageProcessor"),
]


@pytest.mark.parametrize(("kind", "columns", "processor"), CASES)
def test_detections_are_those_of_transformers(kind: Kind, columns: int, processor: str) -> None:
    outputs = _outputs(columns)
    found = detector(_settings(kind)).detect(outputs, PLACES, SIZE)
    expected = _of_transformers(processor, outputs, 0.4)
    for mine, its in zip(found, expected, strict=True):
        assert len(its) > 10
        assert mine[: len(its)] == pytest.approx(its, abs=1e-4)
        assert not mine[len(its) :].any()


@pytest.mark.parametrize(("kind", "columns", "processor"), CASES)
def test_only_some_classes_and_the_best_of_them(kind: Kind, columns: int, processor: str) -> None:
    outputs = _outputs(columns)
    every = detector(_settings(kind)).detect(outputs, PLACES, SIZE)
    some = detector(_settings(kind, only=(2, 3), max_detections=4)).detect(outputs, PLACES, SIZE)
    for all_of_it, found in zip(every, some, strict=True):
        expected = [row.tolist() for row in all_of_it if row[4] > 0 and row[5] in (2, 3)]
        assert found.tolist() == expected[:4]


@pytest.mark.parametrize(("kind", "columns", "processor"), CASES)
def test_what_else_is_in_the_batch_makes_no_difference(kind: Kind, columns: int, processor: str) -> None:
    outputs = _outputs(columns)
    made = detector(_settings(kind))
    second = {name: values[1:] for name, values in outputs.items()}
    assert np.array_equal(made.detect(outputs, PLACES, SIZE)[1:], made.detect(second, PLACES[1:], SIZE))


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"boxes": np.zeros((2, QUERIES, 4), np.float32)}, "has no output logits, but boxes"),
        (_outputs(CLASSES + 2), "gives 8 logits for a query"),
    ],
)
def test_outputs_of_another_network_are_refused(outputs: dict[str, Floats], message: str) -> None:
    for kind, _, _ in CASES:
        with pytest.raises(ModelError, match=message):
            detector(_settings(kind)).detect(outputs, PLACES, SIZE)  # type: ignore[arg-type]
