"""The contract of executors: who runs the chunks of a plan."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

from resnet_pipe.job.resolve import Resolved
from resnet_pipe.run.observe.events import Events
from resnet_pipe.run.observe.history import History
from resnet_pipe.run.observe.observer import Guard
from resnet_pipe.run.observe.outcome import Effort, SourceCounts
from resnet_pipe.run.pace import Pace
from resnet_pipe.run.prepared import Prepared
from resnet_pipe.run.spool import Spool
from resnet_pipe.run.stop import Stop


@dataclass(eq=False)
class Executor(ABC):
    """Carries out a plan, and remembers what happened, and what it took, also when it ends in an error."""

    resolved: Resolved
    stop: Stop
    events: Events
    guard: Guard
    history: History
    pace: Pace
    counts: SourceCounts = field(default_factory=SourceCounts)
    effort: Effort = field(default_factory=Effort)

    def run(self, prepared: Prepared, folder: Path | None) -> None:
        """Run all chunks of a plan; nothing is loaded if there are none. The caller holds the lock.

        The folder is for a trace; without one, there is none.

        Raises:
            ResnetPipeError: it could not be finished; what was committed stays.
        """
        store = prepared.ledger.store
        spool = Spool(store.spool, store.home, self.resolved.digest)
        if self.stop.signal is None:
            if not prepared.plan.chunk_count:
                prepared.begin()
            elif self.pace.opens(prepared.plan.planned, lambda: self.stop.check("paused")):
                self.run_chunks(prepared, spool, folder)
        if self.pace.problem is not None:
            raise self.pace.problem
        if self.is_complete:
            spool.clear()

    @property
    def is_complete(self) -> bool:
        """Whether no chunk of the plan is left, once `run` has returned."""
        return self.stop.signal is None and not self.pace.window_ended

    @abstractmethod
    def run_chunks(self, prepared: Prepared, spool: Spool, folder: Path | None) -> None:
        """Begin, and run the chunks of a plan that has some; see `run`.

        Nothing is changed before what runs them is proved to work. If what an engine gives is wrong, nothing
        stays in the spool.
        """
