"""Intervals hold in nine cases of ten, and are what the formulas say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_pipe.study.interval import FLOOR, Interval, measured, quantile, share, total

POSITIVE = st.floats(min_value=1e-3, max_value=1e6)


@st.composite
def intervals(draw: st.DrawFn) -> Interval:
    low, expected, high = sorted(draw(st.tuples(POSITIVE, POSITIVE, POSITIVE)))
    return Interval(low, expected, high)


@pytest.mark.parametrize("freedom", [1, 2, 3, 9, 10, 11, 25, 200, 10_000])
def test_the_quantiles_are_those_of_students_distribution(freedom: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    assert quantile(freedom) == pytest.approx(stats.t.ppf(0.95, freedom), abs=1.5e-3)


def test_the_interval_of_three_values_is_that_of_the_formula() -> None:
    values = [math.exp(1.0), math.exp(1.1), math.exp(1.2)]
    half = 2.920 * 0.1 * math.sqrt(4 / 3)
    found = measured(values)
    assert found.expected == pytest.approx(math.exp(1.1))
    assert found.low == pytest.approx(math.exp(1.1 - half))
    assert found.high == pytest.approx(math.exp(1.1 + half))


@pytest.mark.parametrize("count", [3, 5, 8])
def test_another_measurement_is_in_nine_of_ten_intervals(count: int) -> None:
    rng = np.random.default_rng(count)
    held = 0
    for _ in range(2000):
        *known, other = np.exp(rng.normal(0, 0.2, count + 1)).tolist()
        found = measured(known)
        held += found.low <= other <= found.high
    assert held / 2000 == pytest.approx(0.9, abs=0.02)


def test_values_that_happen_to_be_equal_do_not_make_it_certain() -> None:
    found = measured([2.0, 2.0, 2.0])
    assert (found.low, found.high) == pytest.approx((2 / FLOOR, 2 * FLOOR))
    one = measured([2.0])
    assert (one.low, one.high) == pytest.approx((1, 4))


@given(intervals(), intervals())
def test_sums_and_products_are_wider_than_their_parts_and_narrower_than_the_worst(
    one: Interval, other: Interval
) -> None:
    near = 1 + 1e-9
    product, added = one.times(other), one.plus(other)
    assert product.expected == pytest.approx(one.expected * other.expected)
    assert one.low * other.low / near <= product.low <= product.expected * near
    assert product.expected / near <= product.high <= one.high * other.high * near
    assert added.expected == pytest.approx(one.expected + other.expected)
    assert max(0, one.low + other.low) / near <= added.low + 1e-9
    assert added.low <= added.expected <= added.high
    assert added.high <= (one.high + other.high) * near
    assert product.high / product.expected >= one.high / one.expected / near


def test_what_is_certain_adds_no_width() -> None:
    some = Interval(8, 10, 15)
    assert some.plus(Interval.exactly(5)) == Interval(13, 15, 20)
    doubled = some.times(Interval.exactly(2))
    assert (doubled.low, doubled.expected, doubled.high) == pytest.approx((16, 20, 30))
    assert Interval.exactly(0).times(some).expected == 0


def test_the_total_of_a_population_that_is_known_is_its_sum() -> None:
    assert total([3, 4, 5], [1, 1, 1], 3, 3) == Interval.exactly(12)


def test_where_the_figure_goes_with_the_size_the_ratio_is_scaled_up() -> None:
    found = total([10, 20, 30], [1, 2, 3], 100, 1000)
    assert found == Interval.exactly(10_000)


def test_where_it_does_not_or_sizes_are_unknown_the_mean_is_scaled_up() -> None:
    assert total([10, 10, 10], [1, 2, 3], 100, 1000).expected == pytest.approx(1000)
    assert total([10, 20, 30], [0, 0, 0], 100, 0).expected == pytest.approx(2000)


def test_a_total_of_a_skewed_population_is_in_about_nine_of_ten_intervals() -> None:
    rng = np.random.default_rng(5)
    sizes = rng.lognormal(0, 1, 500)
    values = 30 * sizes * rng.lognormal(0, 0.3, 500)
    held = 0
    for _ in range(1000):
        chosen = rng.choice(500, 40, replace=False)
        found = total(values[chosen].tolist(), sizes[chosen].tolist(), 500, float(sizes.sum()))
        held += found.low <= values.sum() <= found.high
    assert 0.84 <= held / 1000 <= 0.95


def test_a_total_is_never_less_than_what_has_been_seen() -> None:
    found = total([1, 1000, 1], [1, 1, 1], 4, 0)
    assert found.low >= 1002


def test_a_share_is_between_none_and_all_and_around_what_was_found() -> None:
    none = share(0, 100)
    assert none.low == none.expected == 0
    assert 0 < none.high < 0.05
    some = share(50, 100)
    assert some.expected == 0.5
    assert (some.low, some.high) == pytest.approx((0.419, 0.581), abs=0.003)
    assert share(100, 100).high == 1
