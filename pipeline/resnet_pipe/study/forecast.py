"""A forecast of a whole job from trials of it: how long, how much memory, how many bytes; pure arithmetic.

A run takes a fixed time, from its start to the first batch and from the last commit to its end, and a time
for each item. What an item takes differs from trial to trial, because the machine does and because
each trial has drawn other sources; so the interval of another, longer one is known from how much they differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

from resnet_pipe.run.observe.clock import STAGES
from resnet_pipe.study.interval import Interval, measured, share
from resnet_pipe.study.to_do import Items, ToDo
from resnet_pipe.study.trial import Trial, steady_rate

_FIXED = 1.3
"""The fixed time is measured once, and so what another one would be is a guess: this factor either way."""
DRIFT = Interval(1 / 1.1, 1.0, 1.1)
"""What the machine itself may do: trials follow each other closely, and so none tells how fast it is half an
hour later. What ten runs took on a virtual machine: docs/benchmarks.md, "Forecasts"."""
_KEPT_BYTES = 300
"""Of memory for each source of a job; measured with up to 100,000: docs/benchmarks.md."""
_MEMORY = 1.1
"""A long run may need more than the highest of the short ones: so much, with something to spare."""
_MIB = 1 << 20


@dataclass(frozen=True)
class Measurement:
    """A trial, and the bytes of the sources that it has processed."""

    trial: Trial
    size: int

    @property
    def items(self) -> int:
        """Items that went through the network."""
        return int(self.trial.result["items"])

    @property
    def steady_s(self) -> float:
        """How long they take in a run that goes on."""
        return self.items / steady_rate(self.trial.result)

    @property
    def per_item_s(self) -> float:
        """What one of them takes."""
        return 1 / steady_rate(self.trial.result)

    @property
    def beside_s(self) -> float:
        """What the run has taken beside that."""
        return max(0.0, self.trial.seconds - self.steady_s)

    @property
    def reading(self) -> float:
        """The share of reading in the work of all stages, which grows with the bytes of a source."""
        busy = {name: stage["busy_s"] for name, stage in self.trial.result["stages"].items()}
        return float(busy["reader"] / (sum(busy.values()) or 1))


@dataclass(frozen=True)
class Forecast:
    """What a run will probably take.

    Attributes:
        items: that go through the network.
        failed: sources that give none.
        seconds: from the command to its end.
        per_item_s: what an item takes while the run goes on.
        output: bytes of the results.
        memory: the highest of all processes together, bytes.
        stages: the share of each in the work.
        bottleneck: the stage that limits.
    """

    items: Interval
    failed: Interval
    seconds: Interval
    per_item_s: Interval
    output: Interval
    memory: Interval
    stages: dict[str, float]
    bottleneck: str

    @property
    def items_per_second(self) -> float:
        """Return the rate while the run goes on."""
        return 1 / self.per_item_s.expected

    def to_json(self, price: float | None) -> dict[str, Any]:
        """Return it; the price is of an hour of this machine."""
        return {
            "items": self.items.to_json(),
            "failed": self.failed.to_json(),
            "seconds": self.seconds.to_json(),
            "items_per_second": round(self.items_per_second, 3),
            "bytes": self.output.to_json(),
            "memory_bytes": self.memory.to_json(),
            "cost": None if price is None else self.cost(price).to_json(),
            "cost_of_a_million": None if price is None else self.cost_of_a_million(price).to_json(),
        }

    def cost(self, price: float) -> Interval:
        """Return what the run costs, at a price of an hour."""
        return self.seconds.times(price / 3600)

    def cost_of_a_million(self, price: float) -> Interval:
        """Return what a million items cost in a run that goes on, at a price of an hour."""
        return self.per_item_s.times(1e6 * price / 3600)


def forecast(to_do: ToDo, items: Items, begun: Measurement, trials: Sequence[Measurement]) -> Forecast:
    """Forecast a run over what is to do, from trials, at least one.

    `begun` is a short one with all that such a run has at its beginning and its end: canary, report.
    """
    each_s = [_per_item(each, to_do, items) for each in trials]
    per_item = measured(each_s).times(DRIFT)
    failed = _failed(len(to_do), [begun, *trials])
    if items.are_frames:
        count, steady = items.count, items.count.times(per_item)
    else:  # a source that fails takes its time as well
        share_s = [one_s * each.items / _sources(each) for one_s, each in zip(each_s, trials, strict=True)]
        count, steady = _without(len(to_do), failed), measured(share_s).times(DRIFT).times(len(to_do))
    plain = fmean(each.per_item_s for each in trials)
    fixed_s = max(0.0, begun.trial.seconds - begun.items * plain)
    fixed = Interval(fixed_s / _FIXED, fixed_s, fixed_s * _FIXED)
    peaks = [each.trial.result["peak_rss_mb"] * _MIB + _KEPT_BYTES * len(to_do) for each in trials]
    work = {stage: sum(each.trial.result["stages"][stage]["busy_s"] for each in trials) for stage in STAGES}
    return Forecast(
        items=count,
        failed=failed,
        seconds=steady.plus(fixed).plus(Interval.exactly(to_do.listing_s)),
        per_item_s=per_item,
        output=_output(to_do.plan.chunk_count, count, begun, trials),
        memory=Interval(min(peaks), max(peaks), max(peaks) * _MEMORY),
        stages={stage: seconds / (sum(work.values()) or 1) for stage, seconds in work.items()},
        bottleneck=Counter(each.trial.result["bottleneck"] for each in trials).most_common(1)[0][0],
    )


def _per_item(one: Measurement, to_do: ToDo, items: Items) -> float:
    """Return what an item takes in a trial, if its sources were as large on average as those to do."""
    seconds, count = one.per_item_s, items.count.expected
    if not to_do.size or not one.size or not count:
        return seconds
    if items.are_frames:
        # A trial opens, and looks through, a whole video for a few of its frames.
        wasted = items.opening_s * (one.size / one.items - to_do.size / count)
        lanes = int(one.trial.result["stages"]["reader"]["lanes"])
        return max(seconds - wasted / lanes, seconds * (1 - one.reading))
    larger = (to_do.size / len(to_do)) / (one.size / _sources(one))
    return seconds * (1 + one.reading * (larger - 1))


def _sources(one: Measurement) -> int:
    counts = one.trial.result["sources"]
    return int(counts["done"] + counts["partial"] + counts["failed"])


def _failed(count: int, all_trials: Sequence[Measurement]) -> Interval:
    """Return how many of the sources to do will give no item, as of trials, some of which had all of them."""
    failed = sum(each.trial.result["sources"]["failed"] for each in all_trials)
    tried = [_sources(each) for each in all_trials]
    if max(tried) >= count:
        return Interval.exactly(round(count * failed / sum(tried)))
    return share(failed, sum(tried)).times(count)


def _without(count: int, failed: Interval) -> Interval:
    return Interval(count - failed.high, count - failed.expected, count - failed.low)


def _output(chunks: int, items: Interval, begun: Measurement, trials: Sequence[Measurement]) -> Interval:
    """Return the bytes of the results: some for each chunk, as short and long trials tell, and each item."""
    one, several = _per_chunk([begun]), _per_chunk(trials)
    for_chunk = 0.0
    if max(one.items, several.items) > 1.5 * min(one.items, several.items):  # far enough apart to tell
        for_item = (several.written - one.written) / (several.items - one.items)
        for_chunk = max(0.0, one.written - max(0.0, for_item) * one.items)
    own = [(each.trial.written - for_chunk * each.trial.chunks) / each.items for each in trials]
    each_item = [max(0.0, one) for one in own]
    rows = Interval(min(each_item), fmean(each_item), max(each_item))
    if rows.high < 2 * rows.low:  # else items have next to nothing of their own, and no factor tells how much
        rows = measured(each_item)
    return items.times(rows).plus(Interval.exactly(for_chunk * chunks))


class _Chunk(NamedTuple):
    """What one chunk of trials has, on average: items, and bytes of results."""

    items: float
    written: float


def _per_chunk(trials: Sequence[Measurement]) -> _Chunk:
    chunks = sum(each.trial.chunks for each in trials)
    written = sum(each.trial.written for each in trials)
    return _Chunk(sum(each.items for each in trials) / chunks, written / chunks)
