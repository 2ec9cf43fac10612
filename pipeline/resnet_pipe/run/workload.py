"""What a chunk runner may expect: how much there is to do, and what is known of it before."""

from __future__ import annotations

from dataclasses import dataclass

from resnet_pipe.job.resolve import Resolved
from resnet_pipe.machine.limits import available_cores
from resnet_pipe.run.plan import Plan


@dataclass(frozen=True)
class Workload:
    """How much there is to do for one chunk runner, from which it takes how many workers it starts.

    Attributes:
        planned: sources.
        cores: that it may use.
        may_split: whether any of them may be read in spans.
        known: keys of those that have failed in earlier runs.
    """

    planned: int
    cores: int
    may_split: bool
    known: frozenset[str]


def workload(resolved: Resolved, plan: Plan, runners: int = 1) -> Workload:
    """Return what each of some chunk runners may expect of a plan."""
    job = resolved.job
    may_split = job.reader.make_reader().may_split
    known = (source.key for chunk in plan.rewrites for source in chunk.failed_before)
    return Workload(
        planned=-(-plan.planned // runners),
        cores=available_cores(),
        may_split=job.reader.description.has_frames and any(map(may_split, plan.sources())),
        known=frozenset(known),
    )
