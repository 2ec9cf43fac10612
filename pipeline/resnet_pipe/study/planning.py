"""Planning: measures what a job would take, with each of its candidates in turns, within a time limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from resnet_pipe.errors import ExitCode, RunError, StoppedError, UsageError
from resnet_pipe.job.job import Job
from resnet_pipe.run.stop import Stop
from resnet_pipe.study.candidate import Candidate
from resnet_pipe.study.figures import rate
from resnet_pipe.study.forecast import Measurement
from resnet_pipe.study.search import OutOfTimeError
from resnet_pipe.study.to_do import Items, ToDo, count_items
from resnet_pipe.study.trial import MAX_ITEMS, TrialError, Trials, open_trials, whole_batches
from resnet_pipe.study.urn import Urn

LEAST, MOST = 3, 8
"""Trials of a candidate: fewer hardly tell how much they differ, and more tell little more."""
_ENOUGH = 2
"""Trials of a candidate, if the time is over before there are more: the interval is very wide then."""
_USUAL = 5
"""Trials of a candidate, if there is time to let each last long."""
_SHORT_S, _LONG_S, _LONGEST_S = 0.25, 3.0, 15.0
"""How long the network is at work in a trial: at least, if there is time, and at most."""
_GROWTH = 10.0
"""How much larger the next trial may be than one that was too short."""
_COUNTING = 0.15
"""Of the time that there is: for counting the frames of videos."""
_PATIENCE = 3.0
"""How many times its share of the time that is left a trial may take, of several candidates."""
_MARGIN = 0.9
"""Of the time that is left: what is planned, as a trial may take longer than the one before it."""


@dataclass
class Planning:
    """Measures candidates of a job over what is to do, one trial at a time.

    The first one of each is short, and has all that a run of its job has at its beginning and its end: the
    canary, a report. `tick` is called several times a second, `say` told of trials.

    Attributes:
        items: of what is to do.
        copies: whether the trials have read copies of the sources, which are no files of this machine.
        exit_code: 130 or 143 if a signal has ended it.
    """

    candidates: Sequence[Candidate]
    to_do: ToDo
    seconds: float
    stop: Stop
    tick: Callable[[], None]
    say: Callable[[str], None]
    items: Items = field(init=False)
    copies: bool = False
    exit_code: ExitCode = ExitCode.DONE

    def run(self, job: Job) -> None:
        """Measure until the time is over, or more would tell no more, on sources of a job.

        Raises:
            RunError: no candidate can be run on a sample of the sources.
            UsageError: there is not enough time.
            StoppedError: a signal came before anything was measured.
        """
        self._deadline = time.monotonic() + self.seconds
        self._check()
        self.items = count_items(job, self.to_do, self.seconds * _COUNTING, self.stop, self.tick)
        with open_trials(job, self.stop, self.tick, self.to_do.sources) as trials:
            paths = trials.sample.paths
            self.copies = any(path.is_relative_to(trials.folder) and path.exists() for path in paths)
            measuring = _Measuring(self, trials, Urn.of(paths), self._deadline)
            reason = ""
            try:
                measuring.begin()
                measuring.go_on()
            except OutOfTimeError:
                reason = "there was no time to measure it; use a larger --seconds"
                if not self._has_forecast:
                    raise self._too_short() from None
            except StoppedError as error:
                reason = "stopped before it was measured"
                if not self._has_forecast:
                    raise
                self.exit_code = error.exit_code
        self._check()
        for one in self.live:
            if len(one.trials) < _ENOUGH:
                one.failure = reason

    @property
    def live(self) -> list[Candidate]:
        """Return the candidates that nothing is known to be in the way of."""
        return [one for one in self.candidates if one.failure is None]

    @property
    def _has_forecast(self) -> bool:
        return any(len(one.trials) >= _ENOUGH for one in self.live)

    def _check(self) -> None:
        if self.live:
            return
        reasons = [f"{one.model}, {one.engine}: {one.failure}" for one in self.candidates]
        if len(reasons) == 1:
            raise RunError(str(self.candidates[0].failure))
        raise RunError("\n  ".join(["nothing could be measured:", *reasons]))

    def _too_short(self) -> UsageError:
        count = len(self.live)
        what = "a forecast" if count == 1 else f"a forecast of {count} candidates"
        return UsageError(f"{self.seconds:g} s is too short for {what}", "use a larger --seconds")


@dataclass
class _Measuring:
    """The trials of a planning, in their folder."""

    planning: Planning
    trials: Trials
    urn: Urn
    deadline: float
    latest: dict[Candidate, Measurement] = field(default_factory=dict)

    def begin(self) -> None:
        """Run the first trial of each candidate."""
        for one in self.planning.live:
            section = one.resolved.job.run
            as_in_a_run = {f"run.{key}": getattr(section, key) for key in ("canary", "report", "trace")}
            one.begun = self._trial(one, one.first_items, 0, as_in_a_run)

    def go_on(self) -> None:
        """Run rounds of trials; OutOfTimeError if not even the least number of them can be run."""
        work_s = 0.0
        for turn in range(MOST):
            live = self.planning.live
            if turn < LEAST:
                work_s = self._work_s(live, turn)
            elif not self._affords(live) or all(self._is_all(one) for one in live):
                return
            for one in live[:: -1 if turn % 2 else 1]:  # a machine that slows down slows down all
                found = self._long_trial(one, turn, work_s)
                if found is not None:
                    one.trials.append(found)
                    per_s = rate(1 / found.per_item_s)
                    self.planning.say(f"{one.model}, {one.engine}: {per_s} items/s")

    def _work_s(self, live: Sequence[Candidate], turn: int) -> float:
        """Return how long the network should be at work in each trial of a round."""
        beside = sum(self.latest[one].beside_s for one in live)
        work_s = 0.0
        for rounds in range(_USUAL - turn, LEAST - turn - 1, -1):
            work_s = (self._left() * _MARGIN / rounds - beside) / max(1, len(live))
            if work_s >= _LONG_S:
                break
        return min(max(work_s, _SHORT_S), _LONGEST_S)

    def _affords(self, live: Sequence[Candidate]) -> bool:
        return sum(self.latest[one].trial.seconds for one in live) < self._left() * _MARGIN

    def _long_trial(self, one: Candidate, turn: int, work_s: float) -> Measurement | None:
        """Run a trial in which the network is at work for about so long; None if the candidate fails.

        Before the first one, nobody knows how many items that takes: a short one is done again with more.
        """
        while True:
            items = self._items(one, work_s)
            found = self._trial(one, items, turn)
            if found is None or found.steady_s >= work_s / 2 or one.trials or items >= self._most(one):
                return found

    def _items(self, one: Candidate, work_s: float) -> int:
        before = self.latest[one]
        wanted = round(before.items * min(_GROWTH, work_s / before.steady_s))
        if not self.planning.items.are_frames:
            wanted = self._whole(one, wanted)
        return max(1, min(wanted, self._most(one)))

    def _most(self, one: Candidate) -> int:
        """Return the items of the largest trial: as many as the job has, but whole batches."""
        return min(MAX_ITEMS, max(round(self.planning.items.count.expected), self._whole(one, 1)))

    def _is_all(self, one: Candidate) -> bool:
        """Tell whether a trial is as large as the job."""
        return self.latest[one].items >= self.planning.items.count.expected

    def _whole(self, one: Candidate, items: int) -> int:
        result = self.latest[one].trial.result
        lanes = result["engine"]["streams"] * len(result["devices"])
        return whole_batches(items, result["batch_size"], lanes, least=1)

    def _trial(
        self,
        one: Candidate,
        items: int,
        turn: int,
        changes: Mapping[str, object] = {},
    ) -> Measurement | None:
        """Run a trial of a candidate; None if it fails, which the candidate notes.

        Raises:
            OutOfTimeError: it did not end in time.
        """
        sample = self.trials.sample
        draw = self.urn.draw(turn, sample.sources(items))
        trials = replace(self.trials, job=one.resolved.job, sample=replace(sample, paths=draw.paths))
        limit_s, started = self._limit_s(), time.monotonic()
        try:
            trial = trials.measure(items, changes, limit_s)
        except TrialError as error:
            if self._left() <= 0:
                raise OutOfTimeError from None
            if len(one.trials) >= _ENOUGH and time.monotonic() - started >= limit_s:
                return None  # it was too slow this time; those that it has will do
            one.failure = error.problem
            self.planning.say(f"{one.model}, {one.engine}: failed: {error.problem}")
            return None
        self.latest[one] = Measurement(trial, draw.size)
        return self.latest[one]

    def _limit_s(self) -> float:
        """Return how long a trial may take: of several candidates, one that is very slow fails alone."""
        live = self.planning.live
        if len(live) == 1:
            return self._left()
        missing = sum(max(1, LEAST + (one.begun is None) - len(one.trials)) for one in live)
        return min(self._left(), _PATIENCE * self._left() / missing)

    def _left(self) -> float:
        return self.deadline - time.monotonic()
