"""Which boxes survive is what torchvision says, to the box."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet_pipe.head.detectors.anchors import anchors_at, base_anchors, decoded
from resnet_pipe.head.detectors.boxes import Candidates, best, nms, overlaps, shifted
from resnet_pipe.head.detectors.roi_align import level_of, roi_align

torch = pytest.importorskip("torch", reason="needs the extra `convert`")
torchvision = pytest.importorskip("torchvision", reason="needs the extra `convert`")

Floats = NDArray[np.float32]


def _boxes(count: int, size: float, side: float, seed: int = 0) -> Floats:
    random = np.random.default_rng(seed)
    corner = random.uniform(0, size, (count, 2))
    return np.concatenate([corner, corner + random.uniform(0, side, (count, 2))], axis=1).astype(np.float32)


@pytest.mark.parametrize("labels", [1, 7])
@pytest.mark.parametrize("count", [0, 1, 300, 1500])
@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.7])
def test_the_boxes_that_survive_are_those_of_torchvision(count: int, labels: int, threshold: float) -> None:
    random = np.random.default_rng(count)
    boxes, scores = _boxes(count, 200, 100), random.uniform(size=count).astype(np.float32)
    given = Candidates(boxes, scores, random.integers(0, labels, count))
    expected = torchvision.ops.batched_nms(*map(torch.from_numpy, given), threshold)
    assert nms(shifted(given), threshold, max(count, 1)).tolist() == expected.tolist()


def test_equal_scores_are_taken_by_their_index() -> None:
    boxes = _boxes(600, 50, 40)
    scores = np.repeat(np.array([0.5, 0.75, 0.25], np.float32), 200)
    given = Candidates(boxes, scores, np.zeros(600, np.intp))
    expected = torchvision.ops.nms(torch.from_numpy(boxes), torch.from_numpy(scores), 0.5)
    assert nms(given, 0.5, 600).tolist() == expected.tolist()


def test_no_more_than_the_limit_survive_and_they_are_the_best() -> None:
    given = Candidates(
        _boxes(900, 300, 60), np.linspace(1, 0, 900, dtype=np.float32), np.arange(900, dtype=np.intp) % 3
    )
    assert nms(given, 0.4, 20).tolist() == nms(given, 0.4, 900)[:20].tolist()


@pytest.mark.parametrize("tenths", range(1, 10))
def test_an_overlap_as_large_as_the_threshold_is_judged_as_by_torchvision(tenths: int) -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, tenths]], np.float32)
    given = Candidates(boxes, np.array([1, 0.5], np.float32), np.zeros(2, np.intp))
    expected = torchvision.ops.nms(*map(torch.from_numpy, given[:2]), tenths / 10)
    assert nms(given, tenths / 10, 2).tolist() == expected.tolist()


def test_boxes_without_an_area_suppress_nothing() -> None:
    boxes = np.zeros((3, 4), np.float32)
    assert np.isnan(overlaps(boxes, boxes)).all()
    assert nms(Candidates(boxes, np.array([1, 2, 3], np.float32), np.zeros(3, np.intp)), 0.5, 9).tolist() == [
        2,
        1,
        0,
    ]


@pytest.mark.parametrize("k", [1, 4, 50, 99])
def test_the_best_come_first_and_equal_ones_by_their_index(k: int) -> None:
    scores = np.random.default_rng(k).integers(0, 5, 50).astype(np.float32)
    assert best(scores, k).tolist() == sorted(range(50), key=lambda one: (-scores[one], one))[:k]


def test_what_boxes_see_of_the_maps_is_what_torchvision_pools() -> None:
    random = np.random.default_rng(3)
    maps = [
        random.standard_normal((16, side, side + side // 2)).astype(np.float32) for side in (64, 32, 16, 8)
    ]
    boxes = np.concatenate(
        [_boxes(60, 200, 40), _boxes(60, 150, 300, 1), np.array([[0, 0, 384, 256]], np.float32)]
    )
    boxes = np.clip(boxes, 0, np.array([384, 256, 384, 256], np.float32))
    thin = np.array([[10, 10, 10.01, 200], [383.9, 255.9, 384, 256], [3, 3, 3, 3]], np.float32)
    boxes = np.concatenate([boxes, thin])
    pool = torchvision.ops.MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)
    tensors = OrderedDict((str(number), torch.from_numpy(one[None])) for number, one in enumerate(maps))
    expected = pool(tensors, [torch.from_numpy(boxes)], [(256, 384)]).numpy()
    assert set(level_of(boxes, 2, 5).tolist()) == {2, 3, 4}
    assert roi_align(maps, 2, boxes) == pytest.approx(expected, abs=2e-6)


def test_anchors_lie_where_torchvision_puts_them() -> None:
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.image_list import ImageList

    sizes, ratios = (32, 40, 50), (0.5, 1.0, 2.0)
    generator = AnchorGenerator((sizes,), (ratios,))
    images = ImageList(torch.zeros(1, 3, 96, 160), [(96, 160)])
    (expected,) = generator(images, [torch.zeros(1, 8, 2, 3)])  # the input is no multiple of the grid
    base = base_anchors(sizes, ratios)
    y, x, which = np.unravel_index(np.arange(2 * 3 * 9), (2, 3, 9))
    assert np.array_equal(anchors_at(base, which, y, x, (2, 3), (96, 160)), expected.numpy())


def test_boxes_are_decoded_as_by_torchvision() -> None:
    from torchvision.models.detection._utils import BoxCoder

    anchors = _boxes(100, 300, 90)
    deltas = np.random.default_rng(1).normal(0, 3, (100, 4)).astype(np.float32)
    deltas[0] = 100  # limited
    weights = (10.0, 10.0, 5.0, 5.0)
    expected = BoxCoder(weights).decode_single(torch.from_numpy(deltas), torch.from_numpy(anchors))
    assert decoded(deltas, anchors, weights) == pytest.approx(expected.numpy(), rel=1e-5, abs=1e-4)
