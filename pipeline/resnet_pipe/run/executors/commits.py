"""Commits chunks that are staged, and counts their sources and failures, whoever has run them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from resnet_pipe.errors import RunError
from resnet_pipe.ledger.record import Failure, Record
from resnet_pipe.reader.files import Files
from resnet_pipe.run.observe.events import Events
from resnet_pipe.run.observe.outcome import SourceCounts
from resnet_pipe.run.pace import Pace
from resnet_pipe.run.plan import Chunk
from resnet_pipe.run.prepared import Prepared


@dataclass(eq=False)
class Commits:
    """Commits the chunks of a plan, and counts their sources."""

    prepared: Prepared
    events: Events
    counts: SourceCounts
    pace: Pace

    def __post_init__(self) -> None:
        job = self.prepared.resolved.job
        sources, self._failed_before = self.prepared.allowance
        self._limit = job.run.failure_limit(sources)
        self._files = job.reader.make_reader().files
        self._failed: Counter[str] = Counter()
        """Failures in each chunk."""

    def commit(self, chunk: Chunk, record: Record) -> None:
        """Commit a chunk that is staged."""
        self.prepared.ledger.commit(record, chunk.replaces)
        self.pace.committed(chunk)
        self._count(chunk, record)

    def on_failure(self, failure: Failure, chunk: str) -> None:
        """Tell of a source that has failed, and let the run go on after it, or not.

        Raises:
            RunError: more than the limit have failed, or the input is gone.
        """
        self._failed[chunk] += 1
        about = {"stage": failure.stage, "error": failure.error, "text": failure.message}
        self.events.tell("source_failed", chunk=chunk, source=failure.key, **about)
        count = self._failed_before + self.failures
        if count > self._limit:
            raise RunError(
                f"{count} source{'' if count == 1 else 's'} failed, more than run.max_failures allows",
                "see the failures in the log; committed results are kept",
            )
        check_input(failure, self._files)

    @property
    def failures(self) -> int:
        """Return how many sources have failed in this run."""
        return self._failed.total()

    def run_again(self, chunk: str) -> None:
        """Forget the failures of a chunk that is run once more, from its start."""
        del self._failed[chunk]

    def _count(self, chunk: Chunk, record: Record) -> None:
        keys = {source.key for source in chunk.sources}  # without those of kept rows
        entries = [entry for entry in record.entries if entry.source.key in keys]
        states = [entry.status for entry in entries]
        self.counts.done += states.count("done")
        self.counts.partial += states.count("partial")
        self.counts.failed += states.count("failed")
        for entry in entries:
            if entry.notes:
                self.counts.noted += 1
                self.events.tell(
                    "source_noted", chunk=record.chunk, source=entry.source.key, notes=entry.notes
                )
        shards = [file.name for file in record.shards]
        self.events.tell("chunk_committed", chunk=record.chunk, shards=shards, rows=record.rows)


def check_input(failure: Failure, files: Files) -> None:
    """Let a run go on after a source has failed, unless all input is gone with it.

    Raises:
        RunError: where the sources are, there is nothing any more.
    """
    if failure.error in ("missing", "unreadable") and files.is_gone():
        raise RunError(
            f"the input is gone: {files.root} cannot be read or is empty now",
            "restore it (is the disk mounted, or the bucket still there?) and run the same command again",
        )
