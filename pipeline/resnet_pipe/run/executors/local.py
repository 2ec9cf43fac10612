"""The executor of this machine: one chunk runner, whose chunks are committed as they come."""

from __future__ import annotations

from dataclasses import dataclass, field

from resnet_pipe.job.resolve import Resolved
from resnet_pipe.ledger.record import Failure
from resnet_pipe.run.chunk_runner import ChunkRunner
from resnet_pipe.run.failure_limit import check_failures
from resnet_pipe.run.observe.effort import Effort
from resnet_pipe.run.observe.events import Events
from resnet_pipe.run.observe.outcome import SourceCounts
from resnet_pipe.run.prepared import Prepared
from resnet_pipe.run.spool import Spool
from resnet_pipe.run.stager import Staged
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
        ledger, plan = prepared.ledger, prepared.plan
        spool = Spool(ledger.store.spool, ledger.store.home, self.resolved.digest)
        sources, failed = prepared.allowance
        limit = self.resolved.job.run.failure_limit(sources)

        def commit(staged: Staged) -> None:
            ledger.commit(staged.record, staged.chunk.replaces)
            self._count(staged)

        def on_failure(failure: Failure, chunk: str) -> None:
            nonlocal failed
            failed += 1
            about = {"stage": failure.stage, "error": failure.error, "text": failure.message}
            self.events.tell("source_failed", chunk=chunk, source=failure.key, **about)
            check_failures(failure, failed, limit, runner.root)

        if self.stop.signal is None:
            if plan.chunk_count:
                self.effort = runner.effort
                with runner.started():
                    prepared.begin()
                    runner.run(plan.chunks(), ledger, spool, commit, on_failure)
            else:
                prepared.begin()
        if self.stop.signal is None:
            spool.clear()

    def _count(self, staged: Staged) -> None:
        entries, record = staged.entries, staged.record
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
