"""Tuning: finds the fastest setting of a job for this machine, on a sample of the job's own input.

Every setting is measured by trials, which are real runs in fresh processes; for the way from one to the next,
and the proof that it is faster, see `search`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from resnet_pipe.errors import ExitCode, MissingExtraError, StoppedError, UsageError
from resnet_pipe.infer import engine as engines
from resnet_pipe.infer.engine import ENGINES
from resnet_pipe.job.job import Job
from resnet_pipe.machine.limits import available_cores
from resnet_pipe.run.stop import Stop
from resnet_pipe.study.search import OutOfTimeError, Row, Search
from resnet_pipe.study.setting import Dimension, Facts, Setting, dimensions
from resnet_pipe.study.trial import (
    MAX_ITEMS,
    TrialError,
    Trials,
    open_trials,
    steady_rate,
    whole_batches,
)
from resnet_pipe.study.tuned import Tuned

_SHARE = 1 / 40
"""Of the time that there is: how long the network is at work in one trial."""
_LONGEST_S = 10.0
_FIRST_ITEMS = 32
_GROWTH = 10.0
"""How much larger the next sample may be than one that was too short."""
_PATIENCE = 4.0
"""A trial that takes so many times as long as one of the baseline is ended, and an eighth of the time."""


@dataclass(frozen=True)
class TuneOptions:
    """The time limit, and whether other engines or precisions, which change results, are allowed."""

    seconds: float
    engines: bool = False
    precisions: bool = False


def tune(
    job: Job,
    asked: Job,
    options: TuneOptions,
    stop: Stop,
    tick: Callable[[], None],
    say: Callable[[str], None],
) -> Tuned:
    """Search for the fastest setting of a job. `tick` is called several times a second, `say` told of trials.

    In `asked` is the job as it is written: where it says `auto`, `job` has the engine that this stands for.

    Raises:
        RunError: there are no sources, or the job as it is cannot be run on a sample of them.
        UsageError: there is no time for a single trial.
        StoppedError: a signal came before anything was measured.
    """
    with open_trials(job, stop, tick) as trials:
        tuning = _Tuning(trials, options, say, Setting.of(job), time.monotonic() + options.seconds)
        return tuning.run(Setting.of(asked))


@dataclass
class _Tuning:
    trials: Trials
    options: TuneOptions
    say: Callable[[str], None]
    baseline: Setting
    deadline: float
    facts: dict[Setting, Facts] = field(default_factory=dict)
    cost_s: float = 0.0
    """What the last trial of the baseline took, with its start."""
    items: int = _FIRST_ITEMS
    devices: int = 1
    """That the network runs on at the same time, each with batches and streams of its own."""

    def run(self, own: Setting) -> Tuned:
        self._calibrate()
        search = Search(self.baseline, self._measure, lambda trials: self._left() >= trials * self.cost_s)
        unusable: list[Row[Setting]] = []
        default = [] if self.baseline == self.baseline.default else [self.baseline.default]
        starts = [*default, *self._other_engines(unusable)]
        on_each = self.items // self.devices
        steps = [partial(self._neighbours, dimension) for dimension in dimensions(available_cores(), on_each)]
        code = ExitCode.DONE
        try:
            search.run(starts, steps, always=default)
        except StoppedError as error:
            if not search.rows[self.baseline].rates:
                raise
            code = error.exit_code
        if not search.rows[self.baseline].rates:
            raise self._too_short()
        rows = [row for row in search.rows.values() if row.rates or row.failure]
        rows.sort(key=lambda row: (row.failure is not None, -(row.ratio or 0)))
        facts = self.facts[self.baseline]
        return Tuned(own, facts, search, (*rows, *unusable), self.trials.sample, self.items, code)

    def _calibrate(self) -> None:
        """Find how large a sample has to be for this machine, and what each `auto` resolves to.

        UsageError if there is not even time for this.
        """
        wanted = min(_LONGEST_S, self.options.seconds * _SHARE)
        while True:
            try:
                result = self._trial(self.baseline, self.items, self._left())
            except TrialError:
                if self._left() > 0:
                    raise
                raise self._too_short() from None
            seconds = result["items"] / steady_rate(result)
            enough = seconds >= wanted / 2 or self.items == MAX_ITEMS
            longer = round(self.items * min(_GROWTH, wanted / seconds))
            # However short the time: a trial of a few items would measure nothing.
            self.items = min(MAX_ITEMS, max(_FIRST_ITEMS, longer))
            if enough:
                break
        self.facts[self.baseline] = Facts.of(result)
        self.devices = len(result["devices"])

    def _measure(self, setting: Setting) -> float:
        """Return items a second; see `Search`."""
        name = setting.name(self.baseline)
        try:
            patience = max(_PATIENCE * self.cost_s, self.options.seconds / 8)
            result = self._trial(setting, self._items_for(setting), min(patience, self._left()))
        except TrialError as error:
            if self._left() <= 0:
                raise OutOfTimeError from None
            self.say(f"{name}: failed: {error.problem}")
            raise
        self.facts[setting] = Facts.of(result)
        rate = steady_rate(result)
        self.say(f"{name}: {rate:.1f} items/s")
        return rate

    def _items_for(self, setting: Setting) -> int:
        """Return the items of a trial; of images, whole batches, as many for each stream of each device."""
        if self.trials.sample.section.description.has_frames:
            return self.items
        known = self.facts[self.baseline]
        size = known.batch_size if setting.batch_size == "auto" else setting.batch_size
        streams = known.streams if setting.streams == "auto" else setting.streams
        return whole_batches(self.items, size, streams * self.devices)

    def _trial(self, setting: Setting, items: int, limit_s: float) -> dict[str, Any]:
        started = time.monotonic()
        result = self.trials.run(items, setting.changes(), limit_s)
        if setting == self.baseline:
            self.cost_s = time.monotonic() - started
        return result

    def _too_short(self) -> UsageError:
        return UsageError(
            f"{self.options.seconds:g} s is too short for a trial of {self.items} items",
            "use a larger --seconds",
        )

    def _left(self) -> float:
        return self.deadline - time.monotonic()

    def _neighbours(self, dimension: Dimension, setting: Setting) -> list[Setting]:
        base = self.baseline
        own = (setting.engine, setting.precision) == (base.engine, base.precision)
        start = base if own else setting.default
        found = dimension(setting, self.facts[setting])
        return [neighbour.simplified(start, self.facts[start]) for neighbour in found]

    def _other_engines(self, unusable: list[Row[Setting]]) -> list[Setting]:
        """Return the engines and precisions allowed besides the baseline's, each with its defaults.

        Those that cannot be used here are added to `unusable`, with the reason.
        """
        facts = self.facts[self.baseline]
        device = self.trials.job.infer.first_device
        found = []
        for engine in ENGINES if self.options.engines else [facts.engine]:
            unable = partial(Row, Setting(engine, facts.precision))
            try:
                had = engines.precisions(engines.devices(engine), device)
            except MissingExtraError as error:
                unusable.append(unable(failure=f"{error.problem} {error.remedy}"))
                continue
            wanted = [p for p in had if self.options.precisions or p == facts.precision]
            # An int8 model computes in int8 and in nothing else, and no other model does.
            wanted = [p for p in wanted if (p == "int8") == (facts.precision == "int8")]
            if not wanted:
                unusable.append(unable(failure=f"it does not support {facts.precision} on device {device}"))
            found += [Setting(engine, p) for p in wanted if (engine, p) != (facts.engine, facts.precision)]
        return found
