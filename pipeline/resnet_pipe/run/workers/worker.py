"""What a worker process does: it turns the sources of its tasks into batches, straight into shared memory."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from functools import lru_cache, partial
from multiprocessing.connection import Connection

from resnet_pipe.errors import SourceError
from resnet_pipe.head.rows import Values
from resnet_pipe.ledger.record import Failure
from resnet_pipe.machine.memory import keep_freed_memory, peak_rss_kb
from resnet_pipe.preprocess.geometry import is_picture
from resnet_pipe.reader.behind import behind
from resnet_pipe.reader.file import refusal
from resnet_pipe.reader.source import FrameCounts, Item, Source, Span
from resnet_pipe.run.workers.messages import (
    SLOWEST,
    Note,
    ReadyBatch,
    Row,
    Split,
    Suspect,
    Task,
    WorkerSetup,
    WorkSpan,
)
from resnet_pipe.run.workers.slots import Slots

_SHAPES = 256
"""Sizes of images for which it is remembered where they are placed: that of all frames of a video is one."""
_TEXTS = 32 << 20
"""Characters of what comes with the sources of a batch, after which it counts as full."""


class Worker:
    """The loop of a worker: over the connection tasks and free slots come in, and batches go out.

    Raises:
        ImportError: what reading needs cannot be imported.
    """

    def __init__(self, connection: Connection, memory: int) -> None:
        keep_freed_memory()
        self._connection = connection
        self._setup: WorkerSetup = connection.recv()
        behind.room = self._setup.room
        self._setup.reader.load()
        self._setup.geometry.load()
        self._placement = lru_cache(_SHAPES)(self._setup.geometry.placement)
        self._slots = Slots(self._setup.shape, memory)
        self._free: deque[int] = deque(self._setup.free)
        self._tasks: deque[Task] = deque()
        self._task = Task(0, ())
        self._batch = ReadyBatch(0, 0, 0)
        """The one that is being filled; what it says of the task is put in when it is posted."""
        self._texts = 0
        """Characters of what comes with its sources."""
        self._seconds: list[tuple[str, float]] = []
        """What each source took that was finished since the last batch."""
        self._finished = 0
        """Sources of the task that are done with."""
        self._items = 0
        """Items that the source after these has given."""
        self._skip = 0
        """So many of these have been posted by another worker."""

    def serve(self) -> None:
        """Work until the run closes the connection, or a source is suspect.

        Raises:
            ImportError: what a source needs cannot be imported.
        """
        suspect: Failure | None = None
        while suspect is None:
            started = time.perf_counter()
            while not self._tasks:
                self._receive()
            suspect = self._work(self._tasks.popleft(), time.perf_counter() - started)
        self._connection.send(Suspect(suspect))

    def _receive(self) -> None:
        message: Task | int = self._connection.recv()
        if isinstance(message, Task):
            self._tasks.append(message)
            if message.span is None:  # a part of a video may begin anywhere in it
                for key in message.keys:
                    self._setup.reader.files.announce(key)
        else:
            self._free.append(message)

    def _work(self, task: Task, waited: float) -> Failure | None:
        """Carry out a task; or return why a source is suspect, with all that comes before it posted."""
        self._task = task
        self._next_batch(task.first_number)
        self._batch.times.wait_task_s = waited
        self._finished = 0
        if task.may_split is not None and (spans := self._spans(task.may_split)):
            self._connection.send(Split(task.index, task.may_split, spans))
            return None
        for position, key in enumerate(task.keys):
            while not self._tasks and self._connection.poll():
                self._receive()  # the next task, to have its files read ahead
            self._items, self._skip = 0, task.skip if position == 0 else 0
            self._begin(position)
            started = time.perf_counter()
            failure = self._try(key, position)
            if failure is not None and failure.transient and not task.alone:
                self._post(last=False)
                return failure  # the status word stays: it names the suspect
            if failure is not None:
                self._batch.failures.append(failure)
            self._seconds.append((key, time.perf_counter() - started))
            self._finished = position + 1
        self._items = self._skip = 0
        self._slots.end(self._setup.worker)
        self._post(last=task.final)
        return None

    def _try(self, key: str, position: int) -> Failure | None:
        """Read a source; return why not, or not to its end. An ImportError is raised: it is not its fault."""
        try:
            self._read(key, position)
        except SourceError as error:
            return Failure(key, error.stage, error.error, error.message, error.transient)
        except ImportError:
            raise
        except MemoryError as error:
            text = f"not enough memory: {error}".rstrip(": ")
            return Failure(key, "reader", "no_memory", text, transient=True)
        except Exception as error:
            # A library's surprise on one file costs that file.
            refused = refusal(error) if isinstance(error, OSError) and error.errno else None
            if refused is not None and refused.transient:
                return Failure(key, refused.stage, refused.error, refused.message, transient=True)
            text = " ".join(str(error).split())
            return Failure(key, "reader", type(error).__name__, text)
        return None

    def _spans(self, source: Source) -> tuple[Span, ...]:
        """Return the spans of a large source; none if it is better read as a whole, or cannot be split."""
        self._begin(0)
        try:
            spans = self._setup.reader.spans(source, lambda: self._begin(0))
        except Exception:
            spans = ()  # reading it will tell what is wrong
        self._slots.end(self._setup.worker)
        return spans if len(spans) > 1 else ()

    def _read(self, key: str, position: int) -> None:
        task, counts, before = self._task, FrameCounts(), FrameCounts()
        min_side, alive = self._setup.geometry.min_side, partial(self._begin, position)
        items = self._setup.reader.read(key, min_side, task.span, counts, alive)
        skip, carried = self._skip, None
        while True:
            item: Item | None = None
            try:
                with self._timed("reader", key):
                    found = next(items, None)
                    if found is not None and carried is None:
                        carried = task.carried.get(key) or self._setup.reader.files.carried(key, alive)
                        counts.notes.extend(carried.notes)
                    item = found
            finally:
                if item is not None and self._items >= skip:
                    self._make_room(item)  # before the item is counted, which is not posted yet
                if self._items < skip:  # decoded once more, but it was used and counted when it was posted
                    before = FrameCounts(before.decoded, counts.used, counts.seconds)
                self._batch.counts.add(counts, before)
                before = copy(counts)
                self._batch.notes.extend(Note(key, text) for text in counts.notes)
                counts.notes.clear()
            if item is None or carried is None:
                return
            if self._items >= skip:
                self._place(key, position, item, carried.values)
            self._items += 1
            alive()  # the time limit is for each item

    def _make_room(self, item: Item) -> None:
        """Post the batch if it is full, or has items of another size."""
        batch = self._batch
        full = len(batch.rows) == self._setup.shape.batch_size or self._texts > _TEXTS
        if full or (batch.size is not None and batch.rows and batch.size != self._size(item)):
            self._post(last=False)
            self._next_batch(self._batch.number + 1)

    def _next_batch(self, number: int) -> None:
        span = self._task.span.index if self._task.span else 0
        self._texts = 0
        self._batch, self._seconds = ReadyBatch(self._task.index, span, number, worker=self._setup.worker), []

    def _size(self, item: Item) -> tuple[int, int] | None:
        """Return height and width of what an item becomes, where they have many; of no picture, None."""
        geometry = self._setup.geometry
        return geometry.size_of(*item.displayed) if geometry.varies and is_picture(item.frame) else None

    def _begin(self, position: int) -> None:
        self._slots.begin(self._setup.worker, self._task.index, position)

    def _place(self, key: str, position: int, item: Item, carried: Values) -> None:
        geometry, slot, rows = self._setup.geometry, self._batch.slot, self._batch.rows
        if slot is None:
            self._slots.end(self._setup.worker)  # waiting for room is not hanging
            slot = self._free_slot()
            self._batch = replace(self._batch, slot=slot)
            self._begin(position)
        with self._timed("preprocess", key):
            if not rows and geometry.varies:
                self._batch = replace(self._batch, size=self._size(item))
            batch = self._slots.batch(slot, self._batch.size)
            placement = self._placement(*item.displayed) if is_picture(item.frame) else None
            geometry.apply(item.frame, batch[len(rows)], item.extent, placement)
            rows.append(Row(key, item.frame_index, item.pts_s, placement, carried))
        self._texts += sum(len(text or "") for text in carried)

    @contextmanager
    def _timed(self, stage: str, key: str) -> Iterator[None]:
        """Count the time of the block for a stage, and tell of it if the run is traced."""
        batch, started = self._batch, time.perf_counter()
        try:
            yield
        finally:
            ended = time.perf_counter()
            batch.times.busy_s[stage] += ended - started
            if self._setup.traced:
                batch.spans.append(WorkSpan(stage, key, started, ended))

    def _free_slot(self) -> int:
        started = time.perf_counter()
        while not self._free:
            self._receive()
        self._batch.times.wait_slot_s += time.perf_counter() - started
        return self._free.popleft()

    def _post(self, last: bool) -> None:
        batch = self._batch
        if batch.slot is not None and not batch.rows:  # the only source in it failed in preprocessing
            self._free.append(batch.slot)
            batch = replace(batch, slot=None)
        batch.times.peak_rss_kb = peak_rss_kb()
        self._connection.send(
            replace(
                batch,
                sources=self._task.sources if last else 0.0,
                finished=self._finished,
                items=max(self._items, self._skip),
                last=last,
                slowest=heapq.nlargest(SLOWEST, self._seconds, key=lambda each: each[1]),
            )
        )
