"""The executor of this machine: one chunk runner, whose chunks are committed as they come."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from resnet_pipe.errors import RunError
from resnet_pipe.job.resolve import Resolved
from resnet_pipe.ledger.record import Failure, Record
from resnet_pipe.reader.files import Files
from resnet_pipe.run.canary import CanaryError
from resnet_pipe.run.chunk_runner import ChunkRunner
from resnet_pipe.run.observe.events import Events
from resnet_pipe.run.observe.outcome import Effort, SourceCounts
from resnet_pipe.run.plan import Chunk
from resnet_pipe.run.prepared import Prepared
from resnet_pipe.run.spool import Spool
from resnet_pipe.run.stop import Stop


@dataclass(eq=False)
class LocalExecutor:
    """Carries out a plan, and remembers what happened, and what it took, also when it ends in an error."""

    resolved: Resolved
    stop: Stop
    events: Events
    counts: SourceCounts = field(default_factory=SourceCounts)
    effort: Effort = field(default_factory=Effort)

    def run(self, prepared: Prepared, runner: ChunkRunner) -> None:
        """Run all chunks of a plan; nothing is loaded if there are none. The caller holds the lock.

        Raises:
            ResnetPipeError: it could not be finished; what was committed stays.
        """
        ledger = prepared.ledger
        spool = Spool(ledger.store.spool, ledger.store.home, self.resolved.digest)
        sources, failed = prepared.allowance
        limit = self.resolved.job.run.failure_limit(sources)
        files = self.resolved.job.reader.make_reader().files

        def commit(chunk: Chunk, record: Record) -> None:
            runner.canaries.require()
            record = replace(record, canary=runner.canaries.figures)
            ledger.commit(record, chunk.replaces)
            self._count(chunk, record)

        def on_failure(failure: Failure, chunk: str) -> None:
            nonlocal failed
            failed += 1
            about = {"stage": failure.stage, "error": failure.error, "text": failure.message}
            self.events.tell("source_failed", chunk=chunk, source=failure.key, **about)
            _check_failure(failure, failed, limit, files)

        if self.stop.signal is None:
            if prepared.plan.chunk_count:
                self.effort = runner.effort
                with runner.started():
                    prepared.begin()
                    try:
                        runner.run(ledger, spool, commit, on_failure)
                    except CanaryError:
                        spool.clear()  # what the engine gave for finished spans is as wrong
                        raise
            else:
                prepared.begin()
        if self.stop.signal is None:
            spool.clear()

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


def _check_failure(failure: Failure, count: int, limit: int, files: Files) -> None:
    """Let a run go on after a source has failed, the `count`th that has, or not.

    Raises:
        RunError: more than the limit have failed, or the input is gone.
    """
    if count > limit:
        raise RunError(
            f"{count} source{'' if count == 1 else 's'} failed, more than run.max_failures allows",
            "see the failures in the log; committed results are kept",
        )
    if failure.error in ("missing", "unreadable") and files.is_gone():
        raise RunError(
            f"the input is gone: {files.root} cannot be read or is empty now",
            "restore it (is the disk mounted, or the bucket still there?) and run the same command again",
        )
