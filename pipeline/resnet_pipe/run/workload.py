"""What a chunk runner may expect: how much there is to do, and what is known of it before."""

from __future__ import annotations

from dataclasses import dataclass

from resnet_pipe.job.resolve import Resolved
from resnet_pipe.machine.limits import available_bytes, available_cores
from resnet_pipe.run.plan import Plan

_SMALL = 8
"""A share of 1/8 of the memory: sources that are no more than that stay in it, for the next run over them."""


@dataclass(frozen=True)
class Workload:
    """How much there is to do for one chunk runner, from which it takes how many workers it starts.

    Attributes:
        planned: sources.
        planned_bytes: that they have together.
        cores: that it may use.
        may_split: whether any of them may be read in spans.
        known: keys of those that have failed in earlier runs.
    """

    planned: int
    planned_bytes: int
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
        planned_bytes=plan.planned_bytes // runners,
        cores=available_cores(),
        may_split=job.reader.description.has_frames and any(map(may_split, plan.sources())),
        known=frozenset(known),
    )


def room(resolved: Resolved, workload: Workload, workers: int) -> int | None:
    """Return how many bytes of one file each of some workers may leave in memory: see `Behind.room`.

    It is None where all that is read may stay: it is little, or a writer reads it again.
    """
    little = available_bytes() // _SMALL
    read_again = any(writer.reads_sources for writer in resolved.job.writer)
    return None if workload.planned_bytes <= little or read_again else little // workers
