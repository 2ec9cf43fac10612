"""What a run of a job would have to do: its sources, their bytes and, counted in a sample, their items."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from resnet_pipe.errors import SourceError
from resnet_pipe.job.job import Job
from resnet_pipe.job.resolve import Resolved
from resnet_pipe.reader.source import Source
from resnet_pipe.run.plan import Plan, Rules
from resnet_pipe.run.preparation import inspect
from resnet_pipe.run.prepared import Fresh
from resnet_pipe.run.source_table import SourceTable
from resnet_pipe.run.stop import Stop
from resnet_pipe.study.interval import Interval, total

_MOST = 512
"""Videos whose frames are counted at most: more would tell little more."""
_SEED = 0


@dataclass(frozen=True)
class ToDo:
    """What a run would do now.

    Attributes:
        plan: made as for a run.
        sources: to process.
        size: their bytes; 0 if the listing does not tell.
        listing_s: how long listing them, and comparing them with the ledger, has taken.
    """

    plan: Plan
    sources: SourceTable
    size: int
    listing_s: float

    def __len__(self) -> int:
        return len(self.sources)


@dataclass(frozen=True)
class Items:
    """How many items the sources to do have, if all are whole.

    Attributes:
        are_frames: of videos; else a source is one item.
        opening_s: seconds to open a video and to find its frames, for each of its bytes.
    """

    count: Interval
    are_frames: bool = False
    opening_s: float = 0.0


def look(resolved: Resolved, fresh: bool, stop: Stop) -> ToDo:
    """List the sources of a job, and find out which of them a run would process. Nothing is changed.

    Raises:
        UsageError, RunError, StoppedError: what `inspect` raises.
    """
    started = time.monotonic()
    plan = inspect(resolved, Rules(), Fresh.AT_THE_END if fresh else Fresh.NO, stop)
    sources = SourceTable(plan.sources()) if plan.rewrites else plan.new
    return ToDo(plan, sources, plan.planned_bytes, time.monotonic() - started)


def count_items(job: Job, to_do: ToDo, seconds: float, stop: Stop, tick: Callable[[], None]) -> Items:
    """Count the items of the sources to do: of videos, of as many as can be looked at in so many seconds.

    These are chosen by chance. One that cannot be read has none.

    Raises:
        StoppedError: somebody asked for a stop.
    """
    if not job.reader.description.has_frames:
        return Items(Interval.exactly(len(to_do)))
    ends, reader = time.monotonic() + seconds, job.reader.make_reader()
    counts: list[int] = []
    chosen = _chosen(to_do.sources)
    started = time.monotonic()

    def alive() -> None:
        tick()
        stop.check("counting frames")
        if counts and time.monotonic() > ends:
            raise _OutOfTimeError

    for source in chosen:
        try:
            alive()
            counts.append(reader.count_items(source.key, alive))
        except SourceError:
            counts.append(0)
        except _OutOfTimeError:
            break
    sizes = [source.size for source in chosen[: len(counts)]]
    spent = (time.monotonic() - started) / sum(sizes) if any(sizes) else 0.0
    return Items(total(counts, sizes, len(to_do), to_do.size), are_frames=True, opening_s=spent)


class _OutOfTimeError(Exception):
    """As many sources have been looked at as there is time for."""


def _chosen(sources: SourceTable) -> list[Source]:
    """Return some of the sources in an order that chance has made, always the same."""
    chance = Random(_SEED)  # noqa: S311 - nobody shall be surprised
    places = chance.sample(range(len(sources)), min(len(sources), _MOST))
    wanted = set(places)
    found = {place: source for place, source in enumerate(sources) if place in wanted}
    return [found[place] for place in places]
