"""A setting: the values of a job that change its speed; and which settings are next to one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from resnet_pipe.job.job import Job

Count = int | Literal["auto"]


@dataclass(frozen=True)
class Setting:
    """Values of a job, as they would be written in the file.

    `precision` may be `auto`, the engine's own choice; `streams` are forward passes at the same time,
    `threads` the engine's over all streams, `workers` decoding processes.
    """

    engine: str
    precision: str
    batch_size: Count = "auto"
    streams: Count = "auto"
    threads: Count = "auto"
    workers: Count = "auto"

    @classmethod
    def of(cls, job: Job) -> Setting:
        """Return what a job says."""
        infer = job.infer
        return cls(
            infer.engine, infer.precision, infer.batch_size, infer.streams, infer.threads, job.run.workers
        )

    @property
    def default(self) -> Setting:
        """This engine and precision, with everything else left to resnet-pipe."""
        return Setting(self.engine, self.precision)

    def changes(self, before: Setting | None = None) -> dict[str, object]:
        """Return the values by their dotted keys; only those that differ, if another setting is given."""
        other = asdict(before) if before else {}
        changed = {name: value for name, value in asdict(self).items() if other.get(name) != value}
        return {f"{'run' if name == 'workers' else 'infer'}.{name}": changed[name] for name in changed}

    def name(self, baseline: Setting) -> str:
        """Describe how this differs from the job."""
        if self == baseline.default:
            return "default"
        if self == baseline:
            return "the job as it is"
        changes = self.changes(baseline)
        return ", ".join(f"{key.partition('.')[2]} {value}" for key, value in changes.items())

    def simplified(self, start: Setting, facts: Facts) -> Setting:
        """Return the same in the terms of another setting, such as `auto`, where they mean the same.

        `start` is of the same engine and precision, and runs what `facts` say.
        """
        names = [
            name for name in ("batch_size", "threads", "workers") if vars(self)[name] == vars(facts)[name]
        ]
        if self.streams == facts.streams and (self.threads == start.threads or "threads" in names):
            names.append("streams")  # `auto` would be others with other threads
        return replace(self, **{name: vars(start)[name] for name in names})


@dataclass(frozen=True)
class Facts:
    """What really ran in a trial, as opposed to `auto`; no threads where the network is not on the CPU."""

    engine: str
    precision: str
    batch_size: int
    streams: int
    threads: int
    workers: int

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> Facts:
        """Return what a run.json says."""
        engine = result["engine"]
        own = {name: engine[name] for name in ("precision", "streams", "threads")}
        return cls(engine["name"], batch_size=result["batch_size"], workers=result["workers"], **own)


Dimension = Callable[[Setting, Facts], Sequence[Setting]]
"""Gives the settings next to one: with the next lower and the next higher value of one kind."""


def dimensions(cores: int, largest: int) -> tuple[Dimension, ...]:
    """Return the directions in which to search.

    Batch sizes are powers of two; streams divide the threads (on a GPU, there are 1, 2 or 4); threads go up
    to the cores, and workers to one more than these, in steps of a third to a half where there are many. No
    more than `largest` items are in forward passes at the same time.
    """

    def batch_size(setting: Setting, facts: Facts) -> list[Setting]:
        powers = [1 << power for power in range(13)]
        sizes = [size for size in powers if size * facts.streams <= largest]
        return [replace(setting, batch_size=size) for size in _beside(sizes, facts.batch_size)]

    def streams(setting: Setting, facts: Facts) -> list[Setting]:
        counts = _divisors(facts.threads) if facts.threads else [1, 2, 4]
        counts = [count for count in counts if count * facts.batch_size <= largest]
        return [replace(setting, streams=count) for count in _beside(counts, facts.streams)]

    def threads(setting: Setting, facts: Facts) -> list[Setting]:
        if not facts.threads:
            return []
        found = []
        for count in _beside(_ladder(cores), facts.threads):
            # As many threads in each stream as before, or as near as that can be.
            wanted = facts.streams * count / facts.threads
            streams = min(_divisors(count), key=lambda divisor: abs(divisor - wanted))
            found.append(replace(setting, threads=count, streams=streams))
        return found

    def workers(setting: Setting, facts: Facts) -> list[Setting]:
        counts = _beside((*_ladder(cores), cores + 1), facts.workers)
        return [replace(setting, workers=count) for count in counts]

    return batch_size, streams, threads, workers


def _beside(values: Sequence[int], value: int) -> list[int]:
    """Return the next lower and the next higher of sorted values."""
    return [*[v for v in values if v < value][-1:], *[v for v in values if v > value][:1]]


def _ladder(top: int) -> list[int]:
    """Return 1, 2, 3, 4, 6, 8, 12, 16 and so on, below `top`, and `top`."""
    steps = {factor << power for factor in (1, 3) for power in range(top.bit_length())}
    return [*sorted(step for step in steps if step < top), top]


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
