"""The chunks of a plan, cut into tasks: what one worker does at a time."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import groupby

from resnet_pipe.reader.reader import Reader
from resnet_pipe.reader.source import Carried, Source
from resnet_pipe.run.plan import Chunk
from resnet_pipe.run.spool import Spool
from resnet_pipe.run.stager import Stager
from resnet_pipe.run.workers.messages import ReadyBatch, Split, Task

BATCHES_PER_TASK = 8
"""For sources of many items: the last batch of a task is not full, and the more come before it the better."""

AHEAD_BYTES = 256 << 20
"""Results in memory that have overtaken a task, such as a video that is slow and cannot be split, after which
nothing is begun but what they wait for."""


class TaskList:
    """Gives out the tasks of a run, in order; the spans of a video that is split come before all others.

    `share` is how many sources each worker gets if all get as many. The stager is told of each task before
    any of its results. Of the chunks, None stands for: no other one for the moment.

    Attributes:
        newest: number, in this run, of the chunk of the newest task that was given out.
        pieces: tasks that were given out, each counted as often as it has spans: all that is to be written.
    """

    def __init__(
        self,
        chunks: Iterator[Chunk | None],
        reader: Reader,
        batch_size: int,
        share: int,
        stager: Stager,
        spool: Spool,
    ) -> None:
        self._reader = reader
        self._stager = stager
        self._spool = spool
        self._sources = batch_size
        if reader.expected_items > 1:
            full = -(-BATCHES_PER_TASK * batch_size // reader.expected_items)
            self._sources = min(full, share)  # of few videos, some for each worker
        self._spans: list[tuple[int, int, Task]] = []
        """A heap: of two videos that are split, the one that is written first comes first."""
        self._chunks: dict[int, int] = {}
        """Number of the chunk of each task that may be split."""
        self._upcoming = self._make(chunks)
        self._next: tuple[Task, int] | None = None
        self._ended = False
        self.newest = -1
        self.pieces = 0

    def take(self, last: int | None) -> Task | None:
        """Return the next task, or None if there is none, or none now.

        After the chunk with the number `last`, no other is begun.
        """
        if self._spans and (last is None or self._chunks[self._spans[0][0]] <= last):
            number, span, _ = self._spans[0]
            return heapq.heappop(self._spans)[2] if self._may_begin(number, span) else None
        self._look()
        if self._next is None or (last is not None and self._next[1] > last):
            return None
        if not self._may_begin(self._next[0].index, 0):
            return None
        task, self.newest = self._next
        self._next = None
        self.pieces += 1
        if task.may_split is not None:
            self._chunks[task.index] = self.newest
        return task

    def _may_begin(self, task: int, span: int) -> bool:
        """Tell whether there is memory for the results, or the others wait for these.

        What they wait for has either been given out before or is the first that can be, so the run goes on.
        """
        return self._stager.waiting_bytes < AHEAD_BYTES or self._stager.awaited == (task, span)

    @property
    def exhausted(self) -> bool:
        """Tell whether all tasks have been given out."""
        self._look()
        return self._ended and self._next is None and not self._spans

    def _look(self) -> None:
        """Look for the next task, unless it is known already, or there are no more."""
        if self._next is None and not self._ended:
            try:
                self._next = next(self._upcoming)
            except StopIteration:
                self._ended = True

    def split(self, split: Split) -> Iterator[ReadyBatch]:
        """Put the spans of a source in the place of its task; yield those that need no worker any more."""
        self._stager.expect_spans(split.task, split.source, split.spans)
        self.pieces += len(split.spans) - 1
        share = 1 / len(split.spans)
        for span in split.spans:
            if self._spool.has(split.source, span):
                yield ReadyBatch(split.task, span.index, 0, sources=share, from_spool=True)
            else:
                carried = _carried([split.source])
                task = Task(split.task, (split.source.key,), span, sources=share, carried=carried)
                heapq.heappush(self._spans, (split.task, span.index, task))

    def _make(self, chunks: Iterator[Chunk | None]) -> Iterator[tuple[Task, int] | None]:
        """Yield the tasks of all chunks, each with the number of its chunk in this run."""
        index, number = 0, -1
        for chunk in chunks:
            if chunk is None:
                yield None
                continue
            number += 1
            groups = list(self._groups(chunk.sources)) or [()]  # a chunk that only loses rows has one task
            for position, group in enumerate(groups):
                self._stager.expect(index, chunk, final=position == len(groups) - 1)
                large = group[0] if len(group) == 1 and self._reader.may_split(group[0]) else None
                keys = tuple(source.key for source in group)
                carried = _carried(group)
                yield Task(index, keys, may_split=large, sources=len(keys), carried=carried), number
                index += 1

    def _groups(self, sources: Sequence[Source]) -> Iterator[Sequence[Source]]:
        for large, run in groupby(sources, self._reader.may_split):
            together = list(run)
            size = 1 if large else self._sources
            for start in range(0, len(together), size):
                yield together[start : start + size]


def _carried(sources: Sequence[Source]) -> dict[str, Carried]:
    """Return what comes with sources, by key, where listing has told."""
    return {source.key: source.carried for source in sources if source.carried is not None}
