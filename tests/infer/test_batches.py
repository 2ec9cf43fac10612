"""Batches as engines need them: whole, and normalised with torchvision's arithmetic, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet_pipe.infer.batches import Normalizer, padded
from tests.infer.requests import Batch, photos, preprocessing
from tests.networks import MEAN, STD


def test_a_short_batch_is_made_a_whole_one_and_a_whole_one_is_not_copied() -> None:
    whole = photos()
    assert np.shares_memory(padded(whole, 4), whole)
    assert np.shares_memory(padded(whole, 0), whole)
    for count in (3, 1):
        filled = padded(whole[:count], 4)
        assert filled.shape == whole.shape
        assert np.array_equal(filled[:count], whole[:count])
    assert len(padded(whole[:1], 2)) == 2


def test_a_batch_is_contiguous_whatever_it_was_cut_from() -> None:
    assert padded(photos()[:, ::2, :, ::-1], 4).flags.c_contiguous


def reference(batch: Batch) -> NDArray[np.float32]:
    """Return what ToTensor and Normalize compute, in their order, in float32."""
    mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in (MEAN, STD))
    scaled = batch.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    result: NDArray[np.float32] = (scaled - mean) / std
    return result


@pytest.mark.cv2
@pytest.mark.parametrize("crop", [1, 7, 32])
def test_every_pixel_has_the_bits_that_float32_arithmetic_gives(crop: int) -> None:
    batch = np.random.default_rng(crop).integers(0, 256, (5, crop, crop, 3), dtype=np.uint8)
    normalizer = Normalizer(preprocessing(crop), 5)
    normalizer.fill(batch)
    assert np.array_equal(normalizer.output, reference(batch))


@pytest.mark.cv2
def test_a_short_batch_leaves_the_rows_after_it_as_they_were() -> None:
    normalizer = Normalizer(preprocessing(), 4)
    normalizer.fill(photos(4))
    normalizer.fill(photos(4)[2:])
    assert np.array_equal(normalizer.output, reference(photos(4)[[2, 3, 2, 3]]))


def test_torchvision_gives_the_same_bits() -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    pipeline = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    normalizer = Normalizer(preprocessing(), 4)
    normalizer.fill(photos())
    expected = np.stack([pipeline(image).numpy() for image in photos()])
    assert np.array_equal(normalizer.output, expected)
