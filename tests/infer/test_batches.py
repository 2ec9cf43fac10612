"""Batches as engines need them."""

from __future__ import annotations

import numpy as np

from resnet_pipe.infer.batches import padded
from tests.infer.requests import photos


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
