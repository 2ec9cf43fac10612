"""A run on this machine, from the checked job to the exit code."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from resnet_pipe.cli.terminal import say
from resnet_pipe.errors import ExitCode, ResnetPipeError, RunError, UsageError
from resnet_pipe.job.resolve import Resolved
from resnet_pipe.ledger.ledger import HOME, Ledger
from resnet_pipe.ledger.lock import output_lock
from resnet_pipe.report.ping import ping
from resnet_pipe.run import preparation
from resnet_pipe.run.executors.execution import Execution
from resnet_pipe.run.observe.event_log import EventLog
from resnet_pipe.run.observe.guard import Guard
from resnet_pipe.run.observe.leavings import leave
from resnet_pipe.run.observe.outcome import Outcome
from resnet_pipe.run.observe.run_folder import make_run_folder, prune_run_folders, save_job
from resnet_pipe.run.plan import Rules
from resnet_pipe.run.preparation import FAILURES, Fresh, Prepared
from resnet_pipe.run.stop import Stop, on_signals


@dataclass(frozen=True)
class RunOptions:
    """What the command line adds to a job.

    Attributes:
        rules: which sources are processed.
        fresh: what becomes of the results that the output directory holds.
        quiet: no progress.
    """

    rules: Rules = field(default_factory=Rules)
    fresh: Fresh = Fresh.NO
    quiet: bool = False


def run(resolved: Resolved, options: RunOptions) -> Outcome:
    """Run a job: lock, recover, plan, execute, report.

    Returns:
        what happened; its exit code is 0, 3, 130 or 143. It has been saved as run.json.

    Raises:
        LockedError: another run holds the output directory.
        ResnetPipeError: the run could not finish; committed results are kept, and run.json says so.
    """
    started_at = datetime.now(timezone.utc)
    part = options.rules.part
    if options.fresh is not Fresh.NO and part is not None:
        raise UsageError("--fresh needs exclusive use of the output directory", "run it once without --shard")
    home = resolved.job.output / HOME
    with _explained(home.parent), on_signals() as stop:
        (home / "ledger").mkdir(parents=True, exist_ok=True)
        with output_lock(home, (part.index, part.count) if part else None):
            ledger = Ledger(home.parent, f"{part.index}of{part.count}" if part else "")
            guard = Guard(say)
            folder = guard.call("folder for this run", make_run_folder, home, started_at, ledger.tag)
            if folder is not None:
                guard.log = guard.call("log", EventLog, folder / "log.jsonl") or guard.log
                guard.call("removal of old run folders", prune_run_folders, folder, ledger.tag)
            try:
                return _logged(resolved, options, stop, ledger, folder, started_at, guard)
            finally:
                guard.log.close()


def _logged(
    resolved: Resolved,
    options: RunOptions,
    stop: Stop,
    ledger: Ledger,
    folder: Path | None,
    started_at: datetime,
    guard: Guard,
) -> Outcome:
    """Execute, and whatever happens, leave run.json, the metrics and the ping."""
    job, log = resolved.job, guard.log
    log.event("run_started", job=job.name, pid=os.getpid(), fingerprint=resolved.digest)
    if resolved.choice:
        log.event("engine_chosen", text=resolved.choice.note, engines=resolved.choice.engines)
    started = time.perf_counter()
    execution = Execution(resolved, stop, log, folder, options.quiet, guard)
    _ping(resolved, "start", guard)
    code = ExitCode.FAILED  # for what nobody foresaw
    prepared: Prepared | None = None

    def report() -> Outcome:
        outcome = execution.outcome(started_at, time.perf_counter() - started, code)
        if prepared is not None:
            outcome = replace(
                outcome, unfinished=prepared.unfinished(), failures=prepared.ledger.output / FAILURES
            )
        return leave(outcome, execution.history, folder, ledger.tag, guard)

    try:
        if folder is not None:
            guard.call("job.yaml", save_job, folder, job)
        prepared = preparation.prepare(resolved, ledger, options.rules, options.fresh, stop)
        execution.run(prepared)
        if stop.signal is None:
            prepared = prepared.end()
        execution.standing = prepared.write_failures()
        code = execution.exit_code
        return report()
    except BaseException as error:
        code = error.exit_code if isinstance(error, ResnetPipeError) else ExitCode.FAILED
        if isinstance(error, ResnetPipeError) and prepared is not None:
            error.kept = prepared.unfinished()
        log.event("error", text=str(error) or type(error).__name__)
        # What has just failed the run may refuse these as well; the run's own error is the one to show.
        with suppress(OSError, ResnetPipeError):
            ledger.recover()
            execution.standing = prepared.write_failures() if prepared else preparation.write_failures(ledger)
        report()
        raise
    finally:
        counts = {"done": execution.done, "partial": execution.partial, "failed": execution.failed}
        log.event("run_ended", exit_code=int(code), **counts)
        _ping(resolved, str(int(code)), guard)
        if log.error is not None:
            guard.warn("log", f"log.jsonl is not complete: {log.error.strerror}")


def _ping(resolved: Resolved, suffix: str, guard: Guard) -> None:
    url = resolved.job.run.ping_url
    problem = ping(url, suffix) if url else None
    if problem:
        guard.log.event("ping_failed", text=problem)
        guard.warn("ping", problem)


@contextmanager
def _explained(directory: Path) -> Iterator[None]:
    """Turn what the disk refuses into an error that says what to do."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot continue: {error.filename2 or error.filename or directory}: {error.strerror or error}",
            "check that the disk is mounted, writable and not full, and that nothing is in the way; then run"
            " the same command again",
        ) from error
