"""A run, from the checked job to the exit code: lock, recover, plan, execute, report."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from resnet_pipe.errors import ExitCode, ResnetPipeError, UsageError
from resnet_pipe.job.resolve import Resolved
from resnet_pipe.ledger import fingerprint, standing
from resnet_pipe.ledger.ledger import LEDGER, Ledger
from resnet_pipe.ledger.standing import Standing
from resnet_pipe.report.ping import ping
from resnet_pipe.run import preparation
from resnet_pipe.run.executors.executor import Executor
from resnet_pipe.run.executors.local import LocalExecutor
from resnet_pipe.run.observe.events import Events, Listener
from resnet_pipe.run.observe.history import History
from resnet_pipe.run.observe.observer import Guard
from resnet_pipe.run.observe.outcome import Outcome
from resnet_pipe.run.observe.run_folder import (
    KEPT_RUNS,
    leave,
    make_run_folder,
    prune_run_folders,
    save_job,
    show_pause,
)
from resnet_pipe.run.pace import Pace, limits
from resnet_pipe.run.plan import Plan, Rules
from resnet_pipe.run.prepared import Fresh, Prepared
from resnet_pipe.run.stop import Stop
from resnet_pipe.store.store import refused


def run(
    resolved: Resolved,
    rules: Rules,
    fresh: Fresh,
    stop: Stop,
    began_at: float,
    listener: Listener | None = None,
) -> Outcome:
    """Run a job; return what happened, which is saved as run.json: its exit code is 0, 3, 4, 130 or 143.

    The stop ends the run after the chunk in flight; a second request, at once. The listener is told what
    happens, from several threads. A window that a time of day ends is that of the moment when all this began,
    seconds since 1970.

    Raises:
        LockedError: another run holds the output directory.
        ResnetPipeError: the run could not finish; committed results are kept, and run.json says so.
    """
    started_at = datetime.now(timezone.utc)
    tag = rules.tag
    if fresh is not Fresh.NO and tag:
        raise UsageError(
            "--fresh needs exclusive use of the output directory", "run it once without --divide"
        )
    if fresh is Fresh.NOW and resolved.job.run.until is not None:
        raise UsageError(
            "--now drops the old results at once, and with run.until the new ones may not be complete then",
            "leave out --now: then the old results stay until the new ones are complete",
        )
    ledger = Ledger(resolved.job.output, tag)
    store = ledger.store
    with refused(store.root):
        store.make(LEDGER, parents=True)
        with store.held():
            events = Events(listener)
            guard = Guard(events)
            folder = guard.call("folder for this run", make_run_folder, store.home, started_at, tag)
            if folder is not None:
                guard.call("log", events.open_log, folder / "log.jsonl")
                guard.call("removal of old run folders", prune_run_folders, folder, tag)
            try:
                return _Run(
                    resolved, rules, fresh, stop, ledger, folder, started_at, began_at, events, guard
                ).run()
            finally:
                events.close()
                if folder is not None:
                    guard.call("copy of this run's folder", store.keep, folder, KEPT_RUNS)


@dataclass
class _Run:
    """A run that holds the lock. It has no folder if that could not be made."""

    resolved: Resolved
    rules: Rules
    fresh: Fresh
    stop: Stop
    ledger: Ledger
    folder: Path | None
    started_at: datetime
    began_at: float
    events: Events
    guard: Guard
    prepared: Prepared | None = None
    standing: Standing | None = None
    merging: bool = False
    """Whether all is committed, and what is left is to make one file of it."""

    def __post_init__(self) -> None:
        self.started = time.perf_counter()
        self.history = History.of(self.resolved)
        self.pace = self._make_pace()
        self.executor = self._choose_executor()

    def run(self) -> Outcome:
        """Execute, and whatever happens, leave run.json, the metrics and the ping."""
        resolved, events = self.resolved, self.events
        events.tell("run_started", job=resolved.job.name, pid=os.getpid(), fingerprint=resolved.digest)
        if resolved.choice:
            events.tell("engine_chosen", text=resolved.choice.note, engines=resolved.choice.engines)
        self._ping("start")
        code, outcome = ExitCode.FAILED, None  # for what nobody foresaw
        try:
            self._process()
            code = self._exit_code
            outcome = self._report(code)
            return outcome
        except BaseException as error:
            code = error.exit_code if isinstance(error, ResnetPipeError) else ExitCode.FAILED
            self._save_what_is_left(error)
            outcome = self._report(code)
            raise
        finally:
            counts = self.executor.counts
            events.tell(
                "run_ended",
                exit_code=int(code),
                done=counts.done,
                partial=counts.partial,
                failed=counts.failed,
                report=str(outcome.report) if outcome and outcome.report else None,
            )
            self._ping(str(int(code)))
            if events.log_error is not None:
                self.guard.warn("log", f"log.jsonl is not complete: {events.log_error.strerror}")

    def _make_pace(self) -> Pace:
        reader = self.resolved.job.reader

        def on_pause(begins: bool) -> None:
            self.guard.call("metrics", show_pause, self.resolved.job, self.ledger.store.tag, begins)
            self.events.tell("paused" if begins else "resumed", file=str(self.resolved.job.run.pause_file))

        return Pace(
            limits(self.resolved.job.run, self.ledger.store.home, self.began_at),
            (lambda source: source.size) if reader.description.has_frames else (lambda _source: 1),
            lambda sources: preparation.chunk_bytes(self.resolved, sources),
            on_pause,
        )

    def _choose_executor(self) -> Executor:
        kind: type[Executor] = LocalExecutor
        if self.resolved.job.run.executor == "ray":
            from resnet_pipe.run.executors.ray.driver import RayExecutor

            kind = RayExecutor
        return kind(self.resolved, self.stop, self.events, self.guard, self.history, self.pace)

    def _process(self) -> None:
        resolved = self.resolved
        if self.folder is not None:
            self.guard.call("job.yaml", save_job, self.folder, resolved.job)
        if resolved.job.run.pause_file is not None:  # in an earlier run that was killed, it may have been
            self.guard.call("metrics", show_pause, resolved.job, self.ledger.store.tag, False)
        prepared = preparation.prepare(resolved, self.ledger, self.rules, self.fresh, self.stop)
        self.prepared = prepared
        plan = prepared.plan
        self.events.tell("planned", sources=plan.planned, skipped=plan.skipped, chunks=plan.chunk_count)
        if plan.warning:
            self.events.log("note", text=plan.warning)  # the outcome has it, for the caller
        if plan.passed_over and plan.chunk_count:
            self.events.note(plan.passed_over.describe(), unusual=False)
        self.executor.run(prepared, self.folder)
        if self.executor.is_complete:
            self.prepared = prepared = prepared.end()
        self.standing = prepared.write_failures()
        self.merging = True
        prepared.merge(self.stop)

    def _save_what_is_left(self, error: BaseException) -> None:
        """Leave a consistent directory after an error, as far as what has just failed allows."""
        if isinstance(error, ResnetPipeError) and self.prepared is not None:
            error.kept = self.prepared.unfinished()
        self.events.tell("error", text=str(error) or type(error).__name__)
        # What has just failed the run may refuse these as well; the run's own error is the one to show.
        with suppress(OSError, ResnetPipeError):
            self.ledger.recover()
            self.standing = self.prepared.write_failures() if self.prepared else standing.write(self.ledger)
            if self.prepared and not self.merging and not self.stop.now and not self.ledger.is_empty():
                # Where the results are still those of other settings, nothing is made of them.
                fingerprint.check(self.ledger.store, self.resolved.fingerprint)
                self.prepared.merge(self.stop)

    @property
    def _exit_code(self) -> ExitCode:
        """Return the exit code of a run that did not end in an error."""
        if self.stop.signal is not None:
            return self.stop.exit_code
        if self.pace.window_ended:
            return ExitCode.WINDOW_ENDED
        counts = self.executor.counts
        return ExitCode.SOME_FAILED if counts.failed or counts.partial else ExitCode.DONE

    def _report(self, code: ExitCode) -> Outcome:
        prepared = self.prepared
        outcome = Outcome(
            resolved=self.resolved,
            plan=prepared.plan if prepared else Plan(),
            counts=self.executor.counts,
            effort=self.executor.effort,
            started_at=self.started_at,
            seconds=time.perf_counter() - self.started,
            standing=self.standing,
            exit_code=code,
            failures=(prepared.ledger if prepared else self.ledger).store.where(standing.NAME),
            unfinished=prepared.unfinished() if prepared else None,
        )
        return leave(outcome, self.history, self.folder, self.ledger.store, self.events, self.guard)

    def _ping(self, suffix: str) -> None:
        url = self.resolved.job.run.ping_url
        problem = ping(url, suffix) if url else None
        if problem:
            self.events.tell("ping_failed", text=problem)
            self.guard.warn("ping", problem)
