"""What the run and its workers say to each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from resnet_pipe.preprocess.geometry import Geometry
from resnet_pipe.reader.images import ImageReader
from resnet_pipe.run.slots import SlotShape


class Failure(NamedTuple):
    """A source that could not be processed.

    Attributes:
        key: of the source.
        stage: reader, preprocess or infer.
        error: a short, stable class of error.
        message: what is wrong, in words.
    """

    key: str
    stage: str
    error: str
    message: str


class Row(NamedTuple):
    """Which item sits in a row of a slot."""

    key: str
    frame_index: int | None
    pts_s: float | None


@dataclass(frozen=True)
class Task:
    """Sources that one worker turns into batches, in order.

    Attributes:
        index: position among all tasks of the run, from 0; results are put back into this order.
        keys: of the sources.
    """

    index: int
    keys: tuple[str, ...]


@dataclass(frozen=True)
class StageTimes:
    """Seconds a worker spent on one batch, and the memory it has needed so far."""

    reader_s: float = 0.0
    preprocess_s: float = 0.0
    wait_task_s: float = 0.0
    wait_slot_s: float = 0.0
    peak_rss_kb: int = 0


@dataclass(frozen=True)
class Filled:
    """A worker's word that a batch is ready, or that a task has ended without one.

    Attributes:
        task: index of the task.
        part: position among the messages of this task, from 0; several streams may mix up their order.
        slot: where the batch is; None if no row was filled.
        rows: what is in the slot, row by row.
        failures: sources of this task that gave no row since the last batch.
        times: of this batch.
        last: nothing more comes from this task.
    """

    task: int
    part: int
    slot: int | None
    rows: list[Row]
    failures: list[Failure]
    times: StageTimes = field(default_factory=StageTimes)
    last: bool = True


@dataclass(frozen=True)
class Setup:
    """Everything a worker needs to begin: the first message it gets.

    Attributes:
        worker: its number, from 0.
        reader: turns a key into items.
        geometry: brings a frame to the network's input size.
        shape: of the shared memory.
        free: its slots that are not waiting for the engine.
    """

    worker: int
    reader: ImageReader
    geometry: Geometry
    shape: SlotShape
    free: tuple[int, ...]
