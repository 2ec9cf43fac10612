"""The executor of this machine: one chunk runner, whose chunks are committed as they come."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from resnet_pipe.ledger.record import Record
from resnet_pipe.run.canary import CanaryError
from resnet_pipe.run.chunk_runner import ChunkRunner
from resnet_pipe.run.executors.commits import Commits
from resnet_pipe.run.executors.executor import Executor
from resnet_pipe.run.plan import Chunk
from resnet_pipe.run.prepared import Prepared
from resnet_pipe.run.spool import Spool
from resnet_pipe.run.workload import workload


class LocalExecutor(Executor):
    """Carries out a plan on this machine."""

    def run_chunks(self, prepared: Prepared, spool: Spool, folder: Path | None) -> None:
        """Begin, and run the chunks of a plan; see `Executor`."""
        trace = folder / "trace.json" if folder and self.resolved.job.run.trace else None
        todo = workload(self.resolved, prepared.plan)
        runner = ChunkRunner(self.resolved, todo, self.stop, self.events, self.guard, self.history, trace)
        self.effort = runner.effort
        commits = Commits(prepared, self.events, self.counts, self.pace)

        def commit(chunk: Chunk, record: Record) -> None:
            runner.canaries.require()
            commits.commit(chunk, replace(record, canary=runner.canaries.figures))

        with runner.started():
            prepared.begin()
            try:
                chunks = self.pace.chunks(prepared.plan)
                runner.run(chunks, prepared.ledger, spool, commit, commits.on_failure)
            except CanaryError:
                spool.clear()  # what the engine gave for finished spans is as wrong
                raise
