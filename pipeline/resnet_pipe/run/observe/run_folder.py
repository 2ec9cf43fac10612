"""The folder of one run: its log, its resolved job and run.json. The last thirty are kept."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path

from resnet_pipe.errors import UsageError
from resnet_pipe.job.job import Job
from resnet_pipe.job.syntax import dump
from resnet_pipe.run.observe.history import History
from resnet_pipe.run.observe.outcome import Outcome
from resnet_pipe.store import atomic
from resnet_pipe.store.disk import HOME

KEPT_RUNS = 30


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


def save_outcome(folder: Path, outcome: Outcome) -> None:
    """Write run.json."""
    atomic.write_bytes(folder / "run.json", json.dumps(outcome.to_json(), indent=1).encode())


def save_history(folder: Path, history: History) -> None:
    """Write history.json, for the report."""
    atomic.write_bytes(folder / "history.json", json.dumps(history.to_json()).encode())


def newest_run_folder(output: Path) -> Path:
    """Return the folder of the last run of an output directory that came to its end.

    Raises:
        UsageError: there is none.
    """
    ended = sorted((output / HOME / "runs").glob("*/run.json"))
    if not ended:
        raise UsageError(
            f"{output} is not a run's output directory: it has no {HOME}/runs/*/run.json",
            "give the writer.path of a job that has run",
        )
    return ended[-1].parent
