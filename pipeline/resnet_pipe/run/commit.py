"""Puts results back in order, writes them as the shards of their chunks, and commits these."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.model import file_sha256
from resnet_pipe.plan import Chunk
from resnet_pipe.resolve import Resolved
from resnet_pipe.run.ledger import Entry, Ledger, Record
from resnet_pipe.run.task import Failure, Filled, Row
from resnet_pipe.run.timing import StageClock
from resnet_pipe.writer import shard as shards
from resnet_pipe.writer.rows import Rows, top_k

Outputs = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Committed:
    """A chunk that has just become final.

    Attributes:
        record: its ledger record.
        done: sources of this run in it that gave rows.
        failed: sources of this run in it that did not.
    """

    record: Record
    done: int
    failed: int


class Committer:
    """The writer stage: accepts the results of tasks in any order.

    Args:
        resolved: the job.
        ledger: of the output directory.
        clock: of the stage.
        on_commit: told of each chunk, right after it is final.
        on_failure: told of each source whose row is not written, because it is not finite, and of its chunk.
    """

    def __init__(
        self,
        resolved: Resolved,
        ledger: Ledger,
        clock: StageClock,
        on_commit: Callable[[Committed], None],
        on_failure: Callable[[Failure, str], None],
    ) -> None:
        self._resolved = resolved
        self._ledger = ledger
        self._clock = clock
        self._on_commit = on_commit
        self._on_failure = on_failure
        self._chunk_of: dict[int, tuple[Chunk, bool]] = {}
        self._waiting: dict[tuple[int, int], tuple[Filled, Outputs]] = {}
        self._next = (0, 0)  # task and part
        self._open: _OpenChunk | None = None

    def expect(self, task: int, chunk: Chunk, final: bool) -> None:
        """Announce a task before any of its results: its chunk, and whether it is the chunk's last."""
        self._chunk_of[task] = (chunk, final)

    def chunk_of(self, task: int) -> str:
        """Return the id of the chunk of a task that has been announced and not yet written."""
        return self._chunk_of[task][0].id

    def accept(self, filled: Filled, outputs: Outputs) -> None:
        """Take one result; write and commit what has become next in order."""
        self._waiting[filled.task, filled.part] = filled, outputs
        while self._next in self._waiting:
            filled, outputs = self._waiting.pop(self._next)
            self._write(filled, outputs)
            if filled.last:
                self._end_task(filled.task)
                self._next = filled.task + 1, 0
            else:
                self._next = filled.task, filled.part + 1

    def abandon(self) -> None:
        """Remove the temporary shard of the chunk in flight."""
        if self._open is not None:
            self._open.discard()
            self._open = None

    def _write(self, filled: Filled, outputs: Outputs) -> None:
        started = time.perf_counter()
        chunk, _ = self._chunk_of[filled.task]
        if self._open is None:
            self._open = _OpenChunk(chunk, self._resolved, self._ledger)
        for failure in self._open.add(filled, outputs):
            self._on_failure(failure, chunk.id)
        self._clock.add(time.perf_counter() - started, len(filled.rows))

    def _end_task(self, task: int) -> None:
        _, final = self._chunk_of.pop(task)
        if final and self._open is not None:
            started = time.perf_counter()
            committed = self._open.commit()
            self._open = None
            self._clock.add(time.perf_counter() - started, 0)
            self._on_commit(committed)


class _OpenChunk:
    """One chunk between its first row and its commit."""

    def __init__(self, chunk: Chunk, resolved: Resolved, ledger: Ledger) -> None:
        self._chunk = chunk
        self._resolved = resolved
        self._ledger = ledger
        self._kind = resolved.job.writer.kind
        self._name = f"part-{chunk.id}{shards.suffix(self._kind)}"
        self._temporary = ledger.temporary_shard(self._name)
        self._shard = shards.open_shard(self._kind, self._temporary, resolved.layout)
        self._failures: dict[str, Failure] = {}
        self._rows = 0

    def add(self, filled: Filled, outputs: Outputs) -> list[Failure]:
        """Write the rows of one result, and remember its failures; return those found here."""
        for failure in filled.failures:
            self._failures[failure.key] = failure
        if not filled.rows:
            return []
        finite = np.all([np.isfinite(values).all(axis=1) for values in outputs.values()], axis=0)
        text = f"the network's output is not finite in {self._resolved.job.infer.precision}"
        broken = {
            row.key: Failure(row.key, "infer", "not_finite", text) for row in compress(filled.rows, ~finite)
        }
        self._failures |= broken
        rows = list(compress(filled.rows, finite))
        if rows:
            self._shard.append(self._to_rows(rows, {name: v[finite] for name, v in outputs.items()}))
            self._rows += len(rows)
        return list(broken.values())

    def commit(self) -> Committed:
        """Complete the shard and make it and its record final."""
        self._shard.close()
        kept_rows = self._merge() if self._chunk.replaces else 0
        entries = [Entry(source, self._failures.get(source.key)) for source in self._chunk.sources]
        record = Record(
            chunk=self._chunk.id,
            shard=self._name,
            rows=self._rows + kept_rows,
            sha256=file_sha256(self._temporary),
            fingerprint=self._resolved.digest,
            committed_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            entries=tuple(sorted([*entries, *self._chunk.kept], key=lambda entry: entry.source.key)),
        )
        self._ledger.commit(record, self._temporary)
        return Committed(record, len(entries) - len(self._failures), len(self._failures))

    def discard(self) -> None:
        """Remove what was written."""
        with suppress(Exception):
            self._shard.close()
        self._temporary.unlink(missing_ok=True)

    def _merge(self) -> int:
        """Bring the kept rows of the old shard into the new one; return how many they are."""
        old = self._chunk.replaces
        assert old is not None  # noqa: S101 - the caller has looked
        kept = {entry.source.key for entry in self._chunk.kept}
        drop = {entry.source.key for entry in old.entries} - kept
        merged = self._ledger.temporary_shard(f"merged-{self._name}")
        path = self._ledger.output / old.shard
        count = shards.merge(self._kind, path, self._temporary, drop, merged, self._resolved.layout)
        merged.replace(self._temporary)
        return count - self._rows

    def _to_rows(self, rows: list[Row], outputs: Outputs) -> Rows:
        network, layout = self._resolved.network, self._resolved.layout
        logits = outputs.get(network.logits)
        return Rows(
            path=[row.key for row in rows],
            frame_index=[row.frame_index for row in rows],
            pts_s=[row.pts_s for row in rows],
            features=outputs.get(network.features) if network.features else None,
            logits=logits if "logits" in layout.fields else None,
            top_k=top_k(logits, layout.k) if logits is not None and "top_k" in layout.fields else None,
        )


def failure_lines(records: Iterator[Record]) -> Iterator[dict[str, object]]:
    """Yield every failure that stands in the ledger, as it goes into failures.jsonl."""
    for record in records:
        for entry in record.entries:
            if entry.failure is not None:
                yield {
                    "path": entry.source.key,
                    "stage": entry.failure.stage,
                    "error": entry.failure.error,
                    "message": entry.failure.message,
                    "size": entry.source.size,
                    "mtime_ns": entry.source.mtime_ns,
                    "chunk": record.chunk,
                }
