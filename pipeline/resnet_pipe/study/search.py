"""The search for a faster setting: pure decisions over a function that measures one, however noisy it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Generic, TypeVar

from resnet_pipe.study.trial import TrialError

GAIN = 1.03
"""A setting that is less than this much faster is not worth a change, and hard to tell from noise."""
MIN_ROUNDS, MAX_ROUNDS = 5, 8
"""Five rounds without a defeat, or eight with one: of settings that are equal, one in thirty does that."""
FINALISTS = 2
_RESERVE = 2 * MIN_ROUNDS
"""Trials that exploring leaves to the final: enough for one candidate."""
_STEP = 1.01
"""The search goes on from a setting that looked this much faster: it only explores, the final decides."""

S = TypeVar("S")


class OutOfTimeError(Exception):
    """There is no time to measure any more."""


@dataclass
class Row(Generic[S]):
    """What is known about a setting: its speed beside the baseline, its items a second, its failure."""

    setting: S
    ratio: float | None = None
    rates: list[float] = field(default_factory=list)
    failure: str | None = None


class Search(Generic[S]):
    """Looks for a setting that is faster than the baseline, in two parts.

    Exploring: from the baseline, or a start that is faster, one dimension after another is climbed as long
    as that helps. The best so far is measured again beside each of its neighbours, so that a machine that
    becomes slower or faster meanwhile does not decide.

    The final: the baseline and the best candidates are measured in alternation, in rounds whose order is
    turned round each time. A candidate is chosen only if it is at least `GAIN` faster in the median of the
    rounds, and was the faster one in all of five, or in all but one of eight. Otherwise the baseline stays.

    What has been found can be asked for at any time, also after an exception from `measure` has ended it.

    `measure` returns items a second: its TrialError counts against the setting, OutOfTimeError ends the
    search, any other error is the caller's. `affords` tells whether there is time for so many trials.
    """

    def __init__(self, baseline: S, measure: Callable[[S], float], affords: Callable[[int], bool]) -> None:
        self.baseline = baseline
        self._measure = measure
        self._affords = affords
        self.rows: dict[S, Row[S]] = {baseline: Row(baseline, 1.0)}
        self._best = baseline
        self.rounds: list[dict[S, float]] = []
        """Of the final: the rates of those that took part."""
        self.out_of_time = False
        """Something was left out because there was no time for it."""

    def run(
        self,
        starts: Sequence[S],
        dimensions: Iterable[Callable[[S], Sequence[S]]],
        always: Sequence[S] = (),
    ) -> None:
        """Search until there is nothing left to try, or no time.

        No dimension, each of which gives the neighbours of a setting, leads to the starts, such as other
        engines. Those of them in `always` take part in the final however they looked. TrialError if the
        baseline itself cannot be measured.
        """
        try:
            if starts:
                self._best = self._race([self.baseline, *starts])
            while sum(self._climb(neighbours) for neighbours in dimensions):  # all of them, each time
                pass
            if not self.rows[self.baseline].rates:  # there was no time for more than this
                self._try(self.baseline)
            self._final(always)
        except OutOfTimeError:
            self.out_of_time = True

    @property
    def chosen(self) -> S:
        """The fastest setting that has been proved to be faster than the baseline, or the baseline."""
        proved = filter(self._is_proved, self.rows)
        return max(proved, key=self._gain, default=self.baseline)

    @property
    def fastest(self) -> S:
        """The setting that looked fastest, proved or not."""
        sound = [row for row in self.rows.values() if row.failure is None]
        return max(sound, key=lambda row: row.ratio or 0).setting

    def _race(self, settings: Sequence[S]) -> S:
        """Measure settings once each; return the first one, or the fastest if it looked faster than that."""
        first, *others = settings
        own = self._try(first)
        if own is None:  # it ran before, and does not any more
            return self.baseline
        known = self.rows[first].ratio or 1.0
        best, reached = first, own * _STEP
        for setting in others:
            if not self._has_time(1 + _RESERVE):
                break
            rate = self._try(setting)
            if rate is not None:
                self.rows[setting].ratio = known * rate / own
                if rate > reached:
                    best, reached = setting, rate
        return best

    def _climb(self, neighbours: Callable[[S], Sequence[S]]) -> bool:
        """Go to the fastest neighbour as long as there is a faster one; return whether there was."""
        moved = False
        while True:
            new = [setting for setting in neighbours(self._best) if setting not in self.rows]
            if not new or not self._has_time(2 + _RESERVE):
                return moved
            winner = self._race([self._best, *new])
            if winner == self._best:
                return moved
            self._best, moved = winner, True

    def _final(self, always: Sequence[S]) -> None:
        sound = [row for row in self.rows.values() if row.failure is None and row.setting != self.baseline]
        sound.sort(key=lambda row: row.ratio or 0, reverse=True)
        fast = [row.setting for row in sound[:FINALISTS] if (row.ratio or 0) > _STEP]
        finalists = list(dict.fromkeys([*(row.setting for row in sound if row.setting in always), *fast]))
        while len(finalists) > 1 and not self._has_time(MIN_ROUNDS * (1 + len(finalists))):
            finalists.pop()
        while finalists and self.chosen == self.baseline and len(self.rounds) < MAX_ROUNDS:
            if not self._has_time(1 + len(finalists)):
                return
            order = [self.baseline, *finalists]
            rates = {setting: self._try(setting) for setting in order[:: -1 if len(self.rounds) % 2 else 1]}
            self.rounds.append({setting: rate for setting, rate in rates.items() if rate is not None})
            for setting in finalists:
                if rates[setting] is not None:
                    self.rows[setting].ratio = self._gain(setting)
            finalists = [one for one in finalists if rates[one] is not None and self._defeats(one) <= 1]

    def _has_time(self, trials: int) -> bool:
        enough = self._affords(trials)
        self.out_of_time = self.out_of_time or not enough
        return enough

    def _try(self, setting: S) -> float | None:
        """Measure a setting; a failure stays in its row."""
        row = self.rows.setdefault(setting, Row(setting))
        try:
            rate = self._measure(setting)
        except TrialError as error:
            if setting == self.baseline:
                raise
            row.failure = error.problem
            return None
        row.rates.append(rate)
        return rate

    def _ratios(self, setting: S) -> list[float]:
        return [one[setting] / one[self.baseline] for one in self.rounds if setting in one]

    def _gain(self, setting: S) -> float:
        return median(self._ratios(setting))

    def _defeats(self, setting: S) -> int:
        return sum(ratio <= 1 for ratio in self._ratios(setting))

    def _is_proved(self, setting: S) -> bool:
        rounds = len(self._ratios(setting))
        if self.rows[setting].failure or rounds < MIN_ROUNDS or self._gain(setting) < GAIN:
            return False
        return self._defeats(setting) <= rounds // MAX_ROUNDS
