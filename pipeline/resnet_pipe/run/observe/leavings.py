"""What a run writes for people besides its results: run.json, history.json, the metrics, the report."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from resnet_pipe.errors import MissingExtraError
from resnet_pipe.report import metrics, run_report
from resnet_pipe.run.observe.events import Events
from resnet_pipe.run.observe.guard import Guard
from resnet_pipe.run.observe.history import History
from resnet_pipe.run.observe.outcome import Outcome
from resnet_pipe.run.observe.run_folder import save_history, save_outcome
from resnet_pipe.store.disk import HOME


def leave(
    outcome: Outcome, history: History, folder: Path | None, tag: str, events: Events, guard: Guard
) -> Outcome:
    """Write all of it into the run's folder, as far as possible, and return the outcome with its report.

    Anything that fails is a warning. The tag is that of the run's division.
    """
    if folder is not None:
        guard.call("run.json", save_outcome, folder, outcome)
        if outcome.effort.items:
            guard.call("history", save_history, folder, history)
    guard.call("metrics", _write_metrics, outcome, tag)
    if not outcome.resolved.job.run.report or folder is None or guard.is_broken("run.json"):
        return outcome
    return guard.call("report", _with_report, outcome, folder, events) or outcome


def _write_metrics(outcome: Outcome, tag: str) -> None:
    job = outcome.resolved.job
    path = job.run.metrics
    if path is None:
        (job.output / HOME).stat()  # its disk may be unmounted: nothing goes into the mount point
        path = job.output / "metrics.prom"
    metrics.write(path, outcome.to_json(), time.time(), tag)


def _with_report(outcome: Outcome, folder: Path, events: Events) -> Outcome:
    try:
        return replace(outcome, report=run_report.write(folder, outcome.resolved.job.output))
    except MissingExtraError as error:  # nothing is wrong: it has not been installed
        events.log.event("note", text=str(error))
        return replace(outcome, no_report=f"{error.remedy}")
