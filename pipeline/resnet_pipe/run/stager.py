"""The writer stage: puts results back in order, has them written, and delivers chunks that are complete."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from resnet_pipe.job.resolve import Resolved
from resnet_pipe.ledger.ledger import Ledger
from resnet_pipe.ledger.record import Failure, Record
from resnet_pipe.reader.source import Source, Span
from resnet_pipe.run.chunk import OpenChunk
from resnet_pipe.run.observe.clock import StageClock
from resnet_pipe.run.plan import Chunk
from resnet_pipe.run.spool import SpanResult, Spool
from resnet_pipe.run.workers.messages import Outputs, ReadyBatch

_ROW_BYTES = 128
"""Of a row, beside what the network gave for it."""


Deliver = Callable[[Chunk, Record], None]
"""Takes each chunk as soon as it is staged, in order, and its record. When it returns, both are committed."""


class GivenUpError(Exception):
    """Somebody does not want to wait until a chunk is complete."""


class _Place(NamedTuple):
    """Where a result belongs: the order in which results are written."""

    task: int
    span: int
    number: int


@dataclass
class _Expected:
    """What is known of a task before its results."""

    chunk: Chunk
    final: bool
    """It is the last one of its chunk."""
    source: Source | None = None
    """The only one, if it is read in spans."""
    spans: tuple[Span, ...] = ()
    arrived: dict[int, list[tuple[ReadyBatch, Outputs]]] = field(default_factory=dict)
    """Of each span of which some results have come, but not all: these."""


@dataclass(eq=False)
class Stager:
    """Accepts the results of tasks in any order. It commits nothing.

    `deliver` gets each chunk; before that, `on_failure` is told of each source in it that failed, and of the
    chunk's id, and may raise to end the run. `on_write` is told of each result that is written, and from when
    to when that was, in seconds of `time.perf_counter`.

    Attributes:
        waiting_bytes: memory of the results that have overtaken what is written next.
        failures: sources that did not give all their rows or files.
        chunks: delivered.
    """

    resolved: Resolved
    ledger: Ledger
    spool: Spool
    clock: StageClock
    deliver: Deliver
    on_failure: Callable[[Failure, str], None]
    on_write: Callable[[ReadyBatch, float, float], None]

    def __post_init__(self) -> None:
        self._expected: dict[int, _Expected] = {}
        self._waiting: dict[_Place, tuple[ReadyBatch, Outputs]] = {}
        self._next = _Place(0, 0, 0)
        self.waiting_bytes = self.failures = self.chunks = 0
        self._open: OpenChunk | None = None
        self._given_up = False
        self._spooled: list[tuple[Source, Span]] = []

    def expect(self, task: int, chunk: Chunk, final: bool) -> None:
        """Announce a task before any of its results: its chunk, and whether it is the chunk's last."""
        self._expected[task] = _Expected(chunk, final)

    def expect_spans(self, task: int, source: Source, spans: tuple[Span, ...]) -> None:
        """Announce, before any of its results, that the source of a task is read in spans."""
        expected = self._expected[task]
        expected.source, expected.spans = source, spans

    @property
    def awaited(self) -> tuple[int, int]:
        """The task, and its span, whose results are written next."""
        return self._next.task, self._next.span

    def accept(self, ready: ReadyBatch, outputs: Outputs) -> int:
        """Take one result; write what has become next in order, and deliver a chunk that is complete then.

        Returns how many tasks, or spans of one, are written to their end with it.

        Raises:
            GivenUpError: `give_up` was called meanwhile.
            RunError: a finished span cannot be read again.
        """
        ended = 0
        self._waiting[_Place(ready.task, ready.span, ready.number)] = ready, outputs
        self.waiting_bytes += _bytes(ready, outputs)
        self._keep(ready, outputs)
        while self._next in self._waiting:
            started = time.perf_counter()
            expected = self._expected[self._next.task]
            ready, outputs = self._waiting.pop(self._next)
            self.waiting_bytes -= _bytes(ready, outputs)
            ready, outputs = self._loaded(expected, ready, outputs)
            if self._open is None:
                self._open = OpenChunk(expected.chunk, self.resolved, self.ledger)
            self._tell(self._open.add(ready, outputs), expected.chunk)
            self._next = self._after(expected, ready)
            ended += ready.last
            if self._next.task != ready.task:
                self._end_task(ready.task)
            now = time.perf_counter()
            self.clock.add(now - started, len(ready.rows))
            self.on_write(ready, started, now)
        return ended

    def give_up(self) -> None:
        """Do not wait until a chunk is complete that waits for its annotated files. For any thread."""
        self._given_up = True
        if (chunk := self._open) is not None:  # another thread may close it now
            chunk.hurry()

    def abandon(self) -> None:
        """Remove the files of the chunk in flight."""
        if self._open is not None:
            self._open.discard()
            self._open = None

    def _after(self, expected: _Expected, ready: ReadyBatch) -> _Place:
        if not ready.last:
            return _Place(ready.task, ready.span, ready.number + 1)
        if ready.span + 1 < len(expected.spans):
            return _Place(ready.task, ready.span + 1, 0)
        return _Place(ready.task + 1, 0, 0)

    def _tell(self, failures: list[Failure], chunk: Chunk) -> None:
        for failure in failures:
            self.failures += 1
            self.on_failure(failure, chunk.id)

    def _keep(self, ready: ReadyBatch, outputs: Outputs) -> None:
        """Put a span into the spool as soon as all of it has come, be it out of turn; not if it failed."""
        expected = self._expected[ready.task]
        if expected.source is None or ready.from_spool:
            return
        arrived = expected.arrived.setdefault(ready.span, [])
        arrived.append((ready, outputs))
        if any(batch.last and batch.number == len(arrived) - 1 for batch, _ in arrived):
            del expected.arrived[ready.span]
            if not any(batch.failures for batch, _ in arrived):
                arrived.sort(key=lambda each: each[0].number)
                parts = [SpanResult(batch.rows, values, tuple(batch.notes)) for batch, values in arrived]
                self.spool.save(expected.source, expected.spans[ready.span], parts)

    def _loaded(self, expected: _Expected, ready: ReadyBatch, outputs: Outputs) -> tuple[ReadyBatch, Outputs]:
        """Return a result with its rows; those of an earlier run are in memory only from now on."""
        if expected.source is None or not ready.from_spool:
            return ready, outputs
        known = self.spool.load(expected.source, expected.spans[ready.span])
        return replace(ready, rows=known.rows, notes=[*known.notes]), known.outputs

    def _end_task(self, task: int) -> None:
        expected = self._expected.pop(task)
        if expected.source is not None:
            self._spooled += [(expected.source, span) for span in expected.spans]
        if not expected.final or self._open is None:
            return
        failures = [] if self._given_up else self._open.close()
        if self._given_up:  # before, or meanwhile
            raise GivenUpError
        self._tell(failures, expected.chunk)
        self.deliver(expected.chunk, self._open.stage())
        self.chunks += 1
        self._open = None
        for source, span in self._spooled:
            self.spool.forget(source, span)
        self._spooled = []


def _bytes(ready: ReadyBatch, outputs: Outputs) -> int:
    texts = sum(map(len, (text or "" for row in ready.rows for text in row.carried)))
    return len(ready.rows) * _ROW_BYTES + texts + sum(values.nbytes for values in outputs.values())
