"""What a run leaves besides its results: a folder with its log, job, run.json, history; report and metrics.

The folders of the last thirty runs are kept.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from resnet_pipe.errors import MissingExtraError, UsageError
from resnet_pipe.job.job import Job
from resnet_pipe.job.syntax import dump
from resnet_pipe.report import metrics, run_report
from resnet_pipe.run.observe.events import Events
from resnet_pipe.run.observe.history import History
from resnet_pipe.run.observe.observer import Guard
from resnet_pipe.run.observe.outcome import Outcome
from resnet_pipe.store import atomic
from resnet_pipe.store.store import HOME, Store

KEPT_RUNS = 30
RUNS = f"{HOME}/runs"
"""Where the folders of runs are, below the root of the results."""


def make_run_folder(home: Path, started_at: datetime, tag: str) -> Path:
    """Make the folder of a run in `home`, named by the time (UTC) it started and its division's tag."""
    folder = home / "runs" / (started_at.strftime("%Y-%m-%dT%H-%M-%S.%f") + _end(tag))
    folder.mkdir(parents=True)
    return folder


def prune_run_folders(newest: Path, tag: str) -> None:
    """Remove the folders of runs that are too old, and what those that were killed left half written."""
    # Not those of the other divisions of a job: there may be more than thirty, all of them running.
    own = (path for path in newest.parent.iterdir() if path.name.endswith(_end(tag)))
    others = sorted(path for path in own if path != newest)
    for old in others[: 1 - KEPT_RUNS]:
        shutil.rmtree(old, ignore_errors=True)
    for other in others[1 - KEPT_RUNS :]:
        for leftover in other.glob(".*.tmp"):
            leftover.unlink()


def _end(tag: str) -> str:
    """Return how the names of the folders of a tag's runs end."""
    return f"Z-{tag}" if tag else "Z"


def save_job(folder: Path, job: Job) -> None:
    """Write the job with every default filled in."""
    atomic.write_bytes(folder / "job.yaml", dump(job.model_dump(mode="json")))


def leave(
    outcome: Outcome, history: History, folder: Path | None, store: Store, events: Events, guard: Guard
) -> Outcome:
    """Write run.json, history.json, metrics and report; return the outcome with its report.

    Anything that fails is a warning. The store is that of the results.
    """
    if folder is not None:
        guard.call("run.json", _save_json, folder / "run.json", outcome.to_json, 1)
        if outcome.effort.items:
            guard.call("history", _save_json, folder / "history.json", history.to_json)
    guard.call("metrics", _write_metrics, outcome, store.tag)
    if not outcome.resolved.job.run.report or folder is None or guard.is_broken("run.json"):
        return outcome
    return guard.call("report", _with_report, outcome, folder, store, events) or outcome


def _save_json(path: Path, content: Callable[[], dict[str, Any]], indent: int | None = None) -> None:
    atomic.write_bytes(path, json.dumps(content(), indent=indent).encode())


def _write_metrics(outcome: Outcome, tag: str) -> None:
    path = _metrics_path(outcome.resolved.job)
    if path is not None:
        metrics.write(path, outcome.to_json(), time.time(), tag)


def show_pause(job: Job, tag: str, paused: bool) -> None:
    """Let the metrics say whether a run is paused."""
    path = _metrics_path(job)
    if path is not None:
        metrics.show_pause(path, job.name, tag, paused)


def _metrics_path(job: Job) -> Path | None:
    """Return where the metrics are; None where nobody collects them: in a bucket."""
    if job.run.metrics is not None or not isinstance(job.output, Path):
        return job.run.metrics
    (job.output / HOME).stat()  # its disk may be unmounted: nothing goes into the mount point
    return job.output / "metrics.prom"


def _with_report(outcome: Outcome, folder: Path, store: Store, events: Events) -> Outcome:
    try:
        return replace(outcome, report=run_report.write(folder, store))
    except MissingExtraError as error:  # nothing is wrong: it has not been installed
        events.log("note", text=str(error))
        return replace(outcome, no_report=f"{error.remedy}")


def newest_run_folder(output: Path) -> Path:
    """Return the folder of the last run of an output directory that came to its end.

    Raises:
        UsageError: there is none.
    """
    ended = sorted((output / RUNS).glob("*/run.json"))
    if not ended:
        raise UsageError(
            f"{output} is not a run's output directory: it has no {RUNS}/*/run.json",
            "give the writer.path of a job that has run",
        )
    return ended[-1].parent
