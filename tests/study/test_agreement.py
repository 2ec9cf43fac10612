"""The figures of agreement are what their names say, also for what is not finite or zero."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet_pipe.study.agreement import ERRORS, THRESHOLDS, Agreement, compare, digits

Outputs = dict[str, NDArray[np.float32]]


def outputs(features: object, logits: object) -> Outputs:
    return {"features": np.array(features, np.float32), "logits": np.array(logits, np.float32)}


LOGITS = [[6, 5, 4, 3, 2, 1], [1, 2, 3, 4, 5, 6]]
REFERENCE = outputs([[1, 0], [3, 4]], LOGITS)


def agreement(found: Outputs, reference: Outputs = REFERENCE) -> Agreement:
    return compare(found, reference, "features", "logits")


def test_equal_outputs_agree_in_everything() -> None:
    assert list(agreement(REFERENCE).figures.values()) == [1.0, 1.0, 0.0, 1.0, 1.0]


def test_the_smallest_similarity_is_of_the_worst_image_and_the_mean_of_all() -> None:
    found = agreement(outputs([[1, 0], [4, 3]], LOGITS))
    assert found.cosine_min == pytest.approx(24 / 25)
    assert found.cosine_mean == pytest.approx((1 + 24 / 25) / 2)


def test_the_error_is_of_the_worst_output_over_its_largest_value() -> None:
    found = outputs([[1, 0], [3, 4.5]], [[6, 5, 4, 3, 2, 1], [1, 2, 3, 4, 5, 6.5]])
    assert agreement(found).max_relative_error == pytest.approx(0.5 / 4)


def test_top_1_counts_images_and_top_5_the_classes_they_share() -> None:
    found = outputs([[1, 0], [3, 4]], [[5, 6, 4, 3, 2, 1], [6, 2, 3, 4, 5, 1]])
    assert agreement(found).top1 == 0.0
    # The second image has 0 2 3 4 1 for 5 4 3 2 1.
    assert agreement(found).top5 == pytest.approx((5 + 4) / 10)


def test_a_network_of_two_classes_has_no_top_5() -> None:
    reference = outputs([[1.0]], [[1, 2]])
    assert agreement(reference, reference).top5 == 1.0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_agrees_with_nothing(value: float) -> None:
    found = agreement(outputs([[1, value], [3, 4]], [[6, 5, 4, 3, 2, 1], [value] * 6]))
    assert found.cosine_min == 0.0
    assert found.max_relative_error == np.inf
    assert not found.passes("int8")


def test_rows_of_zeros_agree_with_each_other_alone() -> None:
    zeros = outputs([[0, 0], [3, 4]], np.zeros((2, 6)))
    assert list(agreement(zeros, zeros).figures.values()) == [1.0, 1.0, 0.0, 1.0, 1.0]
    assert agreement(zeros).cosine_min == 0.0
    assert agreement(REFERENCE, zeros).max_relative_error == np.inf


@pytest.mark.parametrize(("precision", "threshold"), THRESHOLDS.items())
def test_the_threshold_of_a_precision_is_for_the_smallest_similarity(
    precision: str, threshold: float
) -> None:
    assert Agreement(threshold, 1.0, 0.0, 0.0, 0.0).passes(precision)
    assert not Agreement(threshold - 1e-7, 1.0, 0.0, 1.0, 1.0).passes(precision)
    assert not Agreement(float("nan"), 1.0, 0.0, 1.0, 1.0).passes(precision)


@pytest.mark.parametrize(("precision", "most"), ERRORS.items())
def test_the_largest_error_of_a_precision_is_of_any_output(precision: str, most: float) -> None:
    assert Agreement(1.0, 1.0, most, 0.0, 0.0, errors={"x": most}).passes(precision)
    for error in (most + 1e-7, float("inf"), float("nan")):
        assert not Agreement(1.0, 1.0, error, 1.0, 1.0, errors={"x": error}).passes(precision)
    other = compare(outputs([[1, 0], [3, 4]], 3 * np.array(LOGITS)), REFERENCE, "features", "logits")
    assert other.cosine_min == 1.0
    assert str(other.problem(precision)).startswith("the largest difference of the output `logits` from the ")


@pytest.mark.parametrize(("value", "cosine"), [(-1e-9, 1.0), (np.nan, 0.0)])
def test_the_sign_of_a_single_value_near_zero_does_not_count(value: float, cosine: float) -> None:
    reference = outputs([[1e-9], [1]], LOGITS)
    assert agreement(outputs([[value], [1]], LOGITS), reference).cosine_min == cosine


def test_what_is_near_zero_by_chance_is_not_judged_by_its_size_in_less_than_float32() -> None:
    found, reference = ({"logits": np.array([[value]] * 3, np.float32)} for value in (2e-6, 1e-6))
    few = compare(found, reference, "logits", "logits")
    assert few.max_relative_error == pytest.approx(1)
    assert [few.passes(precision) for precision in ERRORS] == [False, True, True, True]
    found, reference = (
        {name: np.vstack([one["logits"], [[5]]])} for name, one in (("a", found), ("a", reference))
    )
    assert all(compare(found, reference, "a", None).passes(precision) for precision in ERRORS)
    found["a"][0] = 5
    assert not any(compare(found, reference, "a", None).passes(precision) for precision in ERRORS)


def test_digits_are_never_rounded_up_to_a_threshold() -> None:
    assert [digits(value) for value in (1.0, 1 - 1e-12, 0.99998999, 0.5)] == [
        "1.0000000",
        "1.0000000",
        "0.9999899",
        "0.5000000",
    ]
