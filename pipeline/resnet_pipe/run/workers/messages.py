"""What the run and its workers say to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.head.rows import Values
from resnet_pipe.ledger.record import Failure
from resnet_pipe.preprocess.geometry import Geometry
from resnet_pipe.preprocess.network_input import Placement
from resnet_pipe.reader.source import Carried, FrameCounts, Source, Span
from resnet_pipe.run.workers.slots import SlotShape

if TYPE_CHECKING:
    from resnet_pipe.reader.reader import Reader

Outputs = dict[str, NDArray[np.float32]]
"""What the network gave for a batch: output name to float32, shape (rows, width)."""
SLOWEST = 10
"""Sources that a message tells of as its slowest: as many as a report shows."""


class Note(NamedTuple):
    """Something unusual about a source, and what was done about it: its rows are correct."""

    key: str
    text: str


class Row(NamedTuple):
    """Which item sits in a row of a slot, where its image lies in what the network sees, what it carries."""

    key: str
    frame_index: int | None
    pts_s: float | None
    placement: Placement | None = None
    carried: Values = ()


@dataclass(frozen=True)
class Task:
    """Sources that one worker turns into batches, in order.

    Attributes:
        index: position among all tasks of the run, from 0; results are put back into this order.
        span: the part of the only source that is to be read; None for all of it.
        may_split: the only source, if it may be worth splitting into spans: the worker looks, and if it is,
            says so instead of reading it.
        sources: how many sources are done with when it is: its own; of a span, a part of one.
        first_number: number of the first message about this task. Not 0 where another worker has died on it.
        skip: items of the first source that the other worker has posted already.
        final: nothing of the task comes after it. False for all pieces but the last of one that is cut
            because a source in it is suspect.
        alone: its only source is a suspect, and tried again in a worker that has read nothing before.
        carried: what comes with sources, by key, where listing has told.
    """

    index: int
    keys: tuple[str, ...]
    span: Span | None = None
    may_split: Source | None = None
    sources: float = 0.0
    first_number: int = 0
    skip: int = 0
    final: bool = True
    alone: bool = False
    carried: Mapping[str, Carried] = field(default_factory=dict)


@dataclass
class StageTimes:
    """Seconds a worker has spent on one batch, and the highest resident memory it has had so far."""

    busy_s: dict[str, float] = field(default_factory=lambda: {"reader": 0.0, "preprocess": 0.0})
    wait_task_s: float = 0.0
    wait_slot_s: float = 0.0
    peak_rss_kb: int = 0


class WorkSpan(NamedTuple):
    """What a worker did without a break, for the trace: a stage, reader or preprocess, on a source.

    From when to when is in seconds of `time.perf_counter`, which all processes of a machine share.
    """

    stage: str
    source: str
    start: float
    end: float


@dataclass(frozen=True)
class ReadyBatch:
    """A worker's word that a batch is ready, or that a task has ended without one.

    Failures, counts of frames, notes, slowest and spans are what has come since the last such word: they are
    collected in it while the batch is filled.

    Attributes:
        span: index of the span; 0 for a source that is read as a whole.
        number: position among the messages of this task and span, from 0: several streams may mix them up.
        slot: where the batch is; None if no row was filled.
        size: height and width of its items, where they have many sizes; else None.
        failures: sources of this task that give no more rows.
        sources: done with, as the task says; 0 unless this is the last message.
        finished: sources of the task, as it was sent, of which everything has been posted.
        items: of the source after these, how many items have been posted.
        last: nothing more comes from this task or span.
        worker: that has made it; None if none has.
        slowest: the sources that took longest of those finished, with their seconds.
        spans: what the worker did; empty unless the run is traced.
        from_spool: no worker has made it: an earlier run has, and its rows are in the spool.
    """

    task: int
    span: int
    number: int
    slot: int | None = None
    rows: list[Row] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    sources: float = 0.0
    finished: int = 0
    items: int = 0
    counts: FrameCounts = field(default_factory=FrameCounts)
    times: StageTimes = field(default_factory=StageTimes)
    last: bool = True
    notes: list[Note] = field(default_factory=list)
    worker: int | None = None
    slowest: list[tuple[str, float]] = field(default_factory=list)
    spans: list[WorkSpan] = field(default_factory=list)
    from_spool: bool = False
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Split:
    """A worker's word that the large source of a task is worth splitting, into two spans at least."""

    task: int
    source: Source
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Suspect:
    """A worker's word that it could not read a source, for a reason that may be none of the source's.

    All that it had read before has been posted, and it ends.
    """

    failure: Failure


@dataclass(frozen=True)
class WorkerSetup:
    """Everything a worker needs to begin: the first message it gets.

    The free ones are those of its slots that are not waiting for the engine. If `traced`, it tells what it
    did when. With a room, what it has read does not stay in memory: see `Behind.room`.
    """

    worker: int
    reader: Reader
    geometry: Geometry
    shape: SlotShape
    free: tuple[int, ...]
    traced: bool = False
    room: int | None = None
