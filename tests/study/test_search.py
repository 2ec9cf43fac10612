"""The search finds what is faster, and noise does not make it choose what is slower."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from statistics import fmean

import pytest

from resnet_pipe.study.search import FINALISTS, GAIN, MIN_ROUNDS, OutOfTimeError, Search
from resnet_pipe.study.trial import TrialError

Point = tuple[int, int]
"""A setting in two dimensions, each from 0 to 9."""
BASELINE = (4, 4)
TRIAL_S = 4.0


class Machine:
    """Measures points; each trial takes four seconds.

    Args:
        rate: the true one of a point.
        noise: standard deviation of the logarithm of what is measured.
        seconds: after which it refuses.
        seed: of the noise.
        drift: how much slower the machine is after each trial than before it.
    """

    def __init__(
        self,
        rate: Callable[[Point], float],
        noise: float = 0.0,
        seconds: float = math.inf,
        seed: int = 0,
        drift: float = 0.0,
    ) -> None:
        self._rate = rate
        self._noise = noise
        self._left = seconds
        self._random = random.Random(seed)
        self._drift = drift
        self.measured: list[Point] = []

    def measure(self, point: Point) -> float:
        self._left -= TRIAL_S
        if self._left < 0:
            raise OutOfTimeError
        self.measured.append(point)
        slowness = math.exp(self._drift * len(self.measured))
        return self._rate(point) * math.exp(self._random.gauss(0, self._noise)) / slowness

    def affords(self, trials: int) -> bool:
        return self._left >= trials * TRIAL_S

    def search(self, *starts: Point) -> Search[Point]:
        search = Search(BASELINE, self.measure, self.affords)
        search.run(starts, [along(0), along(1)])
        return search


def along(axis: int) -> Callable[[Point], list[Point]]:
    def neighbours(point: Point) -> list[Point]:
        found = []
        for value in (point[axis] - 1, point[axis] + 1):
            if 0 <= value < 10:
                found.append((value, point[1]) if axis == 0 else (point[0], value))
        return found

    return neighbours


def hill(top: Point, height: float) -> Callable[[Point], float]:
    """Return rates that fall from the top by `height` of the baseline's rate, which is 100, in all."""
    far = math.dist(top, BASELINE)
    return lambda point: 100 * (1 + height * (1 - math.dist(top, point) / far)) if far else 100.0


def flat(slower: float) -> Callable[[Point], float]:
    """Return rates of which the baseline's is the best, by a share."""
    return lambda point: 100.0 if point == BASELINE else 100 * (1 - slower)


def test_without_noise_the_top_is_found_and_proved() -> None:
    search = Machine(hill((7, 2), height=0.5)).search()
    assert search.chosen == search.fastest == (7, 2)
    assert search.rows[7, 2].ratio == pytest.approx(1.5)
    assert len(search.rounds) == MIN_ROUNDS
    assert not search.out_of_time


@pytest.mark.parametrize("slower", [0.0, 0.01, 0.05, 0.3])
@pytest.mark.parametrize("noise", [0.01, 0.05, 0.15])
def test_noise_does_not_make_it_choose_what_is_slower(noise: float, slower: float) -> None:
    rate = flat(slower)
    chosen = [rate(Machine(rate, noise, 120, seed).search().chosen) for seed in range(200)]
    assert fmean(chosen) > 99.8
    assert sum(value < 100 for value in chosen) <= 8  # one in thirty, of those that are nearly as fast


@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_noise_does_not_hide_what_is_much_faster(noise: float) -> None:
    rate = hill((6, 4), height=0.4)
    chosen = [rate(Machine(rate, noise, 120, seed).search().chosen) for seed in range(100)]
    assert fmean(chosen) > 130


@pytest.mark.parametrize("drift", [-0.02, 0.02])
def test_a_machine_that_becomes_slower_or_faster_meanwhile_does_not_decide(drift: float) -> None:
    assert Machine(flat(0.01), drift=drift).search().chosen == BASELINE
    assert Machine(hill((6, 4), height=0.4), drift=drift).search().chosen == (6, 4)


def test_ratios_are_those_to_a_baseline_on_the_same_machine_at_the_same_time() -> None:
    rate = hill((7, 7), height=0.4)
    for point, row in Machine(rate, drift=0.02).search().rows.items():
        assert row.ratio == pytest.approx(rate(point) / 100, rel=0.25)


def test_a_gain_that_is_not_worth_a_change_is_not_chosen() -> None:
    def search(height: float) -> Point:
        return Machine(hill((5, 4), height)).search().chosen

    assert search(GAIN - 1 - 0.001) == BASELINE
    assert search(GAIN - 1 + 0.001) == (5, 4)


@pytest.mark.parametrize(
    ("ratios", "proved"),
    [
        ([1.1] * 5, True),
        ([1.1, 1.1, 0.9, 1.1, 1.1, 1.1, 1.1, 1.1], True),
        ([1.1, 0.9, 1.1, 0.9], False),
        ([1.01, 1.01, 1.01, 1.2, 1.2, 1.01, 1.2, 1.01], False),
    ],
)
def test_what_is_not_faster_again_and_again_is_not_chosen(ratios: list[float], proved: bool) -> None:
    rates = iter([1.1, *ratios])  # the first one while exploring

    def measure(point: Point) -> float:
        return 100.0 if point == BASELINE else 100 * next(rates)

    search = Search(BASELINE, measure, lambda _trials: True)
    search.run([], [lambda point: [(5, 4)] if point == BASELINE else []])
    assert search.chosen == ((5, 4) if proved else BASELINE)
    assert len(search.rounds) == len(ratios)


def test_a_setting_that_fails_is_a_row_with_its_reason_and_not_the_end() -> None:
    def rate(point: Point) -> float:
        if point == (5, 4):
            raise TrialError("out of memory")
        return hill((4, 6), height=0.2)(point)

    search = Machine(rate).search()
    assert search.rows[5, 4].failure == "out of memory"
    assert search.rows[5, 4].rates == []
    assert search.chosen == (4, 6)


def test_a_candidate_that_fails_in_the_final_is_out() -> None:
    machine = Machine(hill((5, 4), height=0.5))
    search = Search(BASELINE, lambda point: measure(point), machine.affords)

    def measure(point: Point) -> float:
        if search.rounds and point == (5, 4):
            raise TrialError("killed")
        return machine.measure(point)

    search.run([], [along(0)])
    assert search.rows[5, 4].failure == "killed"
    assert search.chosen != (5, 4)


def test_a_baseline_that_fails_is_the_end() -> None:
    def rate(point: Point) -> float:
        raise TrialError("no such device")

    with pytest.raises(TrialError, match="no such device"):
        Machine(rate).search()


def test_starts_that_no_step_leads_to_are_compared_and_climbed_from() -> None:
    search = Machine(hill((9, 9), height=1.0)).search((8, 8), (0, 0))
    assert search.chosen == (9, 9)
    assert search.rows[0, 0].ratio is not None


@pytest.mark.parametrize("trials", range(1, 60))
def test_however_short_the_time_nothing_is_chosen_without_proof(trials: int) -> None:
    machine = Machine(hill((7, 2), height=0.5), seconds=trials * TRIAL_S)
    search = machine.search()
    assert len(machine.measured) <= trials
    assert search.rows[BASELINE].ratio == 1
    assert search.rows[BASELINE].rates
    assert search.chosen == BASELINE or len(search.rounds) >= MIN_ROUNDS
    assert search.out_of_time or search.chosen == (7, 2)
    if trials >= 20:
        assert search.chosen != BASELINE


def test_one_that_must_be_in_the_final_is_however_it_looked() -> None:
    machine = Machine(hill((9, 9), height=0.5))
    search = Search(BASELINE, machine.measure, machine.affords)
    search.run([(0, 0)], [along(0)], always=[(0, 0)])
    assert (0, 0) in search.rounds[0]
    assert len(search.rounds[0]) == 2 + FINALISTS
    assert (0, 0) not in search.rounds[-1]  # it has lost twice
