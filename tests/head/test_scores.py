"""The k best classes of each row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from resnet_pipe.head.classify import top_k
from resnet_pipe.model.output import Activation

_LOGITS = arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(2, 12)),
    elements=st.floats(-(2.0**99), 2.0**99, width=32) | st.sampled_from([0.0, 1.0, -1.0]),
)


@given(_LOGITS, st.data())
def test_the_best_classes_come_first_and_equal_ones_by_index(
    logits: np.typing.NDArray[np.float32], data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, logits.shape[1]))
    found = top_k(logits, k)
    assert (found.index.dtype, found.score.dtype) == (np.dtype(np.int32), np.dtype(np.float32))
    for row, index in zip(logits.tolist(), found.index.tolist(), strict=True):
        assert index == sorted(range(len(row)), key=lambda number: (-row[number], number))[:k]


@given(_LOGITS)
def test_scores_are_softmax_probabilities_of_all_classes(logits: np.typing.NDArray[np.float32]) -> None:
    found = top_k(logits, logits.shape[1])
    exact = logits.astype(np.float64)
    exponent = np.exp(exact - exact.max(axis=1, keepdims=True))
    expected = np.take_along_axis(exponent / exponent.sum(axis=1, keepdims=True), found.index, axis=1)
    assert found.score == pytest.approx(expected, abs=1e-6)


@given(_LOGITS)
def test_scores_of_a_sigmoid_are_those_of_each_class_alone(logits: np.typing.NDArray[np.float32]) -> None:
    found = top_k(logits, logits.shape[1], "sigmoid")
    exact = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -700, 700)))
    assert found.index.tolist() == top_k(logits, logits.shape[1]).index.tolist()
    assert found.score == pytest.approx(np.take_along_axis(exact, found.index, axis=1), abs=1e-6)


def test_scores_that_the_network_has_made_stay_as_they_are() -> None:
    found = top_k(np.array([[0.25, 0.5, 0.25]], np.float32), 3, "none")
    assert found.index.tolist() == [[1, 0, 2]]
    assert found.score.tolist() == [[0.5, 0.25, 0.25]]


@pytest.mark.parametrize(("activation", "value"), [("sigmoid", np.log(3)), ("none", 0.75)])
def test_one_value_tells_two_classes_apart(activation: Activation, value: float) -> None:
    found = top_k(np.array([[value], [-value], [0.0]], np.float32), 2, activation)
    assert found.index[0].tolist() == [1, 0]
    assert found.score[0] == pytest.approx([0.75, 0.25])
    if activation == "sigmoid":
        assert found.index[1:].tolist() == [[0, 1], [0, 1]]
        assert found.score[1:] == pytest.approx(np.array([[0.75, 0.25], [0.5, 0.5]]))
