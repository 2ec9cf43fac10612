"""A run on this machine, from the checked job to the exit code."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from resnet_pipe.errors import ExitCode, MissingExtraError, ResnetPipeError, RunError, UsageError
from resnet_pipe.plan import Rules
from resnet_pipe.report import metrics, run_report
from resnet_pipe.report.ping import ping
from resnet_pipe.resolve import Resolved
from resnet_pipe.run import output
from resnet_pipe.run.execution import Execution
from resnet_pipe.run.folder import make_run_folder, save_job, save_outcome
from resnet_pipe.run.ledger import HOME, Ledger
from resnet_pipe.run.lock import output_lock
from resnet_pipe.run.log import EventLog
from resnet_pipe.run.record import Outcome
from resnet_pipe.run.stop import Stop, on_signals


@dataclass(frozen=True)
class RunOptions:
    """What the command line adds to a job.

    Attributes:
        rules: which sources are processed.
        fresh: drop what the output directory holds.
        quiet: no progress.
    """

    rules: Rules = field(default_factory=Rules)
    fresh: bool = False
    quiet: bool = False


def run(resolved: Resolved, options: RunOptions) -> Outcome:
    """Run a job: lock, recover, plan, execute, report.

    Returns:
        what happened; its exit code is 0, 3, 130 or 143. It has been saved as run.json.

    Raises:
        LockedError: another run holds the output directory.
        ResnetPipeError: the run could not finish; what was committed stays, and run.json says so.
    """
    started_at = datetime.now(timezone.utc)
    part = options.rules.part
    if options.fresh and part is not None:
        raise UsageError("--fresh needs the output directory for itself", "leave out --shard once")
    home = resolved.job.output / HOME
    with _explained(home.parent), on_signals() as stop:
        (home / "ledger").mkdir(parents=True, exist_ok=True)
        with output_lock(home, (part.index, part.count) if part else None):
            ledger = Ledger(home.parent, f"{part.index}of{part.count}" if part else "")
            folder = make_run_folder(home, started_at, ledger.tag)
            log = EventLog(folder / "log.jsonl")
            try:
                return _logged(resolved, options, stop, ledger, log, folder, started_at)
            finally:
                log.close()


def _logged(
    resolved: Resolved,
    options: RunOptions,
    stop: Stop,
    ledger: Ledger,
    log: EventLog,
    folder: Path,
    started_at: datetime,
) -> Outcome:
    """Execute, and whatever happens, leave run.json, the metrics and the ping."""
    job = resolved.job
    log.event("run_started", job=job.name, pid=os.getpid(), fingerprint=resolved.digest)
    if resolved.choice:
        log.event("engine_chosen", text=resolved.choice.note, engines=resolved.choice.engines)
    started = time.perf_counter()
    execution = Execution(resolved, ledger, stop, log, folder, options.quiet)
    _ping(resolved, "start", log)
    code = ExitCode.FAILED  # for what nobody foresaw

    def report() -> Outcome:
        outcome = execution.outcome(started_at, time.perf_counter() - started, code)
        save_outcome(folder, outcome, execution.history)
        path = job.run.metrics or ledger.output / "metrics.prom"
        metrics.write(path, outcome.to_json(), time.time(), ledger.tag)
        return replace(outcome, report=_report(folder, ledger.output, log)) if job.run.report else outcome

    try:
        save_job(folder, job)
        execution.run(output.prepare(resolved, ledger, options.rules, options.fresh, stop))
        output.write_failures(ledger)
        code = execution.exit_code
        return report()
    except BaseException as error:
        code = error.exit_code if isinstance(error, ResnetPipeError) else ExitCode.FAILED
        log.event("error", text=str(error) or type(error).__name__)
        # What has just failed the run may refuse these as well; the run's own error is the one to show.
        with suppress(OSError, ResnetPipeError):
            ledger.recover()
            output.write_failures(ledger)
        with suppress(OSError):
            report()
        raise
    finally:
        counts = {"done": execution.done, "partial": execution.partial, "failed": execution.failed}
        log.event("run_ended", exit_code=int(code), **counts)
        _ping(resolved, str(int(code)), log)
        if execution.engine_is_stuck:
            # Python would crash in C++ code that still runs; all that has to be saved is saved.
            sys.stderr.flush()
            os._exit(code)


def _report(folder: Path, output: Path, log: EventLog) -> Path | None:
    try:
        return run_report.write(folder, output)
    except MissingExtraError as error:  # what the run was for is done without it
        log.event("note", text=str(error))
        return None


def _ping(resolved: Resolved, suffix: str, log: EventLog) -> None:
    url = resolved.job.run.ping_url
    problem = ping(url, suffix) if url else None
    if problem:
        log.event("ping_failed", text=problem)


@contextmanager
def _explained(directory: Path) -> Iterator[None]:
    """Turn what the disk refuses into an error that says what to do."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot go on: {error.filename or directory}: {error.strerror or error}",
            "see that the disk is mounted, writable and not full; then run the same command again: nothing"
            " committed is lost",
        ) from error
