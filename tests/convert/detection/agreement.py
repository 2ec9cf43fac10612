"""How far detections agree with those of torchvision itself, for the tests."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from resnet_pipe.head.detectors.detector import Detector
from tests.convert.detection.calibrated import tensor
from tests.convert.detection.executed import Executed, Floats

_CONFIDENT = 0.3
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_STD = np.array([0.229, 0.224, 0.225], np.float32)


class Prepared(NamedTuple):
    """An image as a detector's network is given it: float32 (1, 3, H, W), and where it lies, (1, 4)."""

    array: Floats
    placement: NDArray[np.int32]


class Agreement(NamedTuple):
    """Of confident detections of torchvision: how many there are and are found, and how far these are off.

    Attributes:
        total: more than 0.3 is their score.
        matched: there is one with the same label, and an IoU of 0.9 or more.
        box: the largest difference of a corner's coordinate of those, in pixels of the input.
        score: the largest difference of a score of those.
    """

    total: int
    matched: int
    box: float
    score: float


def prepared(image: NDArray[np.uint8], min_size: int, max_size: int) -> Prepared:
    """Return an image as torchvision prepares it: normalized, then resized, then padded."""
    height, width = image.shape[:2]
    scale = min(min_size / min(height, width), max_size / max(height, width))
    inner = int(width * scale), int(height * scale)
    values = (image.astype(np.float32) / np.float32(255) - _MEAN) / _STD
    resized = cv2.resize(values, inner, interpolation=cv2.INTER_LINEAR)
    padded = np.zeros((1, 3, -(-inner[1] // 32) * 32, -(-inner[0] // 32) * 32), np.float32)
    padded[0, :, : inner[1], : inner[0]] = resized.transpose(2, 0, 1)
    return Prepared(padded, np.array([[0, 0, *inner]], np.int32))


def detected(image: Prepared, network: Executed, detector: Detector) -> Floats:
    """Return the detections of an image: float32 (n, 6)."""
    shape = image.array.shape
    (found,) = detector.detect(network(image.array), image.placement, (shape[2], shape[3]))
    return np.array(found[found[:, 4] > 0])


def of_torchvision(model: nn.Module, image: NDArray[np.uint8], placement: NDArray[np.int32]) -> Floats:
    """Return torchvision's own detections of an image, in pixels of the prepared one: float32 (n, 6)."""
    with torch.inference_mode():
        (found,) = model([tensor(image)])
    scale = np.tile(placement[0, 2:] / np.array(image.shape[1::-1], np.float32), 2)
    columns = (found["boxes"].numpy() * scale, found["scores"].numpy(), found["labels"].numpy())
    return np.column_stack(columns).astype(np.float32)


def agreement(expected: Floats, found: Floats) -> Agreement:
    """Return how far detections (n, 6) agree with expected ones."""
    confident = expected[expected[:, 4] > _CONFIDENT]
    matched, box, score = 0, 0.0, 0.0
    for one in confident:
        same = found[found[:, 5] == one[5]]
        overlaps = np.array([_overlap(one[:4], other[:4]) for other in same])
        if len(same) and overlaps.max() >= 0.9:
            nearest = same[overlaps.argmax()]
            matched += 1
            box = max(box, float(np.abs(nearest[:4] - one[:4]).max()))
            score = max(score, abs(float(nearest[4] - one[4])))
    return Agreement(len(confident), matched, box, score)


def together(parts: list[Agreement]) -> Agreement:
    """Return the agreement of several images."""
    total, matched, box, score = zip(*parts, strict=True)
    return Agreement(sum(total), sum(matched), max(box), max(score))


def _overlap(one: Floats, other: Floats) -> float:
    width, height = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = max(width, 0) * max(height, 0)
    areas = np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])
    return float(shared / max(areas - shared, 1e-9))
