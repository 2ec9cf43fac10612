"""Sampling: exactly the frames that the rules name, on any times, without drift."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from resnet_pipe.reader.video.sampling import Sampling

BASES = [Fraction(1, 1000), Fraction(1, 90000), Fraction(1, 12800), Fraction(1001, 30000), Fraction(1, 10**9)]


def select(times: list[int], base: Fraction, keys: Sequence[int] = (), **sampling: Any) -> list[int]:  # noqa: ANN401 - fields of Sampling
    key = np.zeros(len(times), np.bool_)
    key[list(keys)] = True
    taken: list[int] = Sampling(**sampling).select(np.asarray(times, np.int64), key, base).tolist()
    return taken


def regular(count: int, rate: Fraction, base: Fraction, first: int = 0) -> list[int]:
    return [first + round(n / rate / base) for n in range(count)]


times = st.lists(st.integers(0, 400), min_size=1, max_size=40, unique=True).map(sorted)
shifts = st.sampled_from([0, -7, 12345678901])
bases = st.sampled_from(BASES)
rates = st.fractions(Fraction(1, 500), 3, max_denominator=1001)
"""Frames per unit of time."""


def by_grid(pts: list[int], origin: Fraction, step: Fraction) -> list[int]:
    """Go through the grid, point by point: the definition."""
    taken, point = set(), origin
    while point <= pts[-1]:
        taken.add(min(range(len(pts)), key=lambda n: (abs(pts[n] - point), n)))
        point += step
    return sorted(taken)


@given(times, shifts, bases, rates)
@settings(max_examples=200)
def test_fps_takes_the_frames_nearest_to_the_grid(
    pts: list[int], shift: int, base: Fraction, rate: Fraction
) -> None:
    pts = [shift + each for each in pts]
    taken = select(pts, base, fps=rate / base)
    assert taken == by_grid(pts, Fraction(pts[0]), 1 / rate)
    assert taken[0] == 0


@given(
    times, bases, rates, st.fractions(0, 300, max_denominator=60), st.fractions(1, 200, max_denominator=60)
)
@settings(max_examples=300)
def test_the_grid_begins_where_the_range_begins(
    pts: list[int], base: Fraction, rate: Fraction, start: Fraction, length: Fraction
) -> None:
    origin, stop = pts[0] + start, pts[0] + start + length
    within = [n for n, each in enumerate(pts) if origin <= each < stop]
    taken = select(pts, base, fps=rate / base, start=start * base, end=(start + length) * base)
    if within:
        inner = by_grid([pts[n] for n in within], origin, 1 / rate)
        assert taken == [within[n] for n in inner]
    else:
        assert taken == []


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(25)])
@pytest.mark.parametrize("base", BASES)
def test_one_frame_a_second_does_not_drift_in_an_hour(rate: Fraction, base: Fraction) -> None:
    pts = regular(int(3600 * rate), rate, base)
    taken = select(pts, base, fps=Fraction(1))
    assert len(taken) == 3600
    for second, frame in enumerate(taken):
        assert abs(pts[frame] * base - second) <= 1 / rate / 2 + base


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30000, 1001)])
def test_a_rate_written_as_a_decimal_takes_every_frame_of_its_video_but_one_in_an_hour(
    rate: Fraction,
) -> None:
    pts = regular(int(3600 * rate), rate, Fraction(1, 90000))
    taken = select(pts, Fraction(1, 90000), fps=Fraction(repr(round(float(rate), 3))))
    assert len(pts) - len(taken) <= 4  # in an hour


def test_a_rate_above_that_of_the_video_takes_every_frame_once() -> None:
    pts = regular(500, Fraction(25), Fraction(1, 12800))
    assert select(pts, Fraction(1, 12800), fps=Fraction(10**6)) == list(range(500))


def test_a_frame_that_is_nearest_to_many_points_is_taken_once() -> None:
    assert select([0, 10, 5000, 5010], Fraction(1, 1000), fps=Fraction(2)) == [0, 1, 2]
    assert select([0, 1000, 2000], Fraction(1, 1000), fps=Fraction(2)) == [0, 1, 2]


def test_of_two_frames_equally_near_the_earlier_is_taken() -> None:
    assert select([0, 900, 1100, 2000], Fraction(1, 1000), fps=Fraction(1)) == [0, 1, 3]


@given(times, bases, st.integers(1, 50))
def test_every_takes_the_first_and_then_each_nth(pts: list[int], base: Fraction, every: int) -> None:
    assert select(pts, base, every=every) == list(range(0, len(pts), every))


@given(times, bases, st.integers(1, 60))
def test_count_takes_so_many_evenly_spread(pts: list[int], base: Fraction, count: int) -> None:
    taken = select(pts, base, count=count)
    assert len(taken) == min(count, len(pts))
    assert taken == sorted(set(taken))
    gaps = np.diff(taken)
    assert gaps.max(initial=0) - gaps.min(initial=10**6) <= 1
    assert abs(taken[0] - (len(pts) - 1 - taken[-1])) <= 1


def test_one_of_a_count_is_in_the_middle() -> None:
    assert select(list(range(9)), Fraction(1), count=1) == [4]
    assert select(list(range(10)), Fraction(1), count=5) == [1, 3, 5, 7, 9]


@given(times, bases, st.data())
def test_keyframes_takes_the_key_frames(pts: list[int], base: Fraction, data: st.DataObject) -> None:
    keys = sorted(data.draw(st.sets(st.integers(0, len(pts) - 1))))
    assert select(pts, base, keys, keyframes=True) == keys
    assert select(pts, base, keys) == list(range(len(pts)))
    start = data.draw(st.integers(0, 400))
    within = [n for n in keys if pts[n] >= pts[0] + start]
    assert select(pts, base, keys, keyframes=True, start=start * base) == within


@given(times, bases, st.integers(0, 400), st.integers(1, 400), st.integers(1, 9), st.integers(1, 9))
def test_the_range_comes_first_and_the_limit_last(
    pts: list[int], base: Fraction, start: int, length: int, every: int, most: int
) -> None:
    within = [n for n, each in enumerate(pts) if start <= each - pts[0] < start + length]
    bounds: dict[str, Any] = {"start": start * base, "end": (start + length) * base}
    assert select(pts, base, **bounds) == within
    assert select(pts, base, every=every, max_frames=most, **bounds) == within[::every][:most]


def test_a_range_counts_from_the_first_frame_whatever_its_time() -> None:
    assert select([8000, 8040, 8080, 8120], Fraction(1, 1000), start=Fraction(4, 100)) == [1, 2, 3]
    assert select([-80, -40, 0, 40], Fraction(1, 1000), end=Fraction(8, 100)) == [0, 1]


def test_of_nothing_nothing_is_taken() -> None:
    empty: NDArray[np.int64] = np.empty(0, np.int64)
    for sampling in (Sampling(), Sampling(fps=Fraction(1)), Sampling(count=3), Sampling(keyframes=True)):
        assert sampling.select(empty, empty.astype(np.bool_), Fraction(1)).tolist() == []
