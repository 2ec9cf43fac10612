"""What planning has found, for programs, and which candidate is the best."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from resnet_pipe.errors import ExitCode
from resnet_pipe.job.job import Job
from resnet_pipe.job.until import moment
from resnet_pipe.run.pace import min_free
from resnet_pipe.study.candidate import Candidate
from resnet_pipe.study.forecast import Forecast, forecast
from resnet_pipe.study.planning import Planning
from resnet_pipe.study.to_do import Items, ToDo

Certainty = Literal["surely", "perhaps", "no"]
"""Whether something will be so: at both ends of an interval, only at one, or at none."""


def certainty(low: float, high: float, limit: float) -> Certainty:
    """Tell whether a figure between two others will be within a limit."""
    if high <= limit:
        return "surely"
    return "perhaps" if low <= limit else "no"


@dataclass(frozen=True)
class Room:
    """The disk of the results: bytes that are free, and that stay free (`run.min_free`)."""

    free: int
    min_free: int

    def to_json(self, forecast: Forecast) -> dict[str, Any]:
        """Return it, and whether it is enough for a run."""
        return {
            "free_bytes": self.free,
            "min_free_bytes": self.min_free,
            "needed_bytes": forecast.output.to_json(),
            "enough": self.enough(forecast),
        }

    def enough(self, forecast: Forecast) -> Certainty:
        """Tell whether there is room for what a run writes."""
        return certainty(forecast.output.low, forecast.output.high, self.free - self.min_free)


@dataclass(frozen=True)
class Aims:
    """What a run is measured against.

    Attributes:
        until: when it should have ended, seconds since 1970; None for no such time.
        price: of an hour of this machine; None if nobody has said.
        room: None where results are in a bucket.
    """

    until: float | None
    price: float | None
    room: Room | None

    @classmethod
    def of(cls, job: Job, price: float | None, asked_at: float) -> Aims:
        """Return those of a job; a time of day is that which came next when it was asked."""
        until = None if job.run.until is None else moment(job.run.until, asked_at)
        return cls(until, price, _room(job))


@dataclass(frozen=True)
class Row:
    """A candidate with its forecast; None if it failed. `finishes` is None without a time."""

    candidate: Candidate
    forecast: Forecast | None
    finishes: Certainty | None

    def to_json(self, aims: Aims) -> dict[str, Any]:
        """Return it, as one of the candidates of `plan --json`."""
        return {**self.candidate.to_json(), **_figures(self, aims), "failure": self.candidate.failure}


@dataclass(frozen=True)
class Planned:
    """The outcome of planning a job. The items are None, and there are no rows, if there is nothing to do.

    The exit code is 130 or 143 if a signal has ended it.
    """

    job: Job
    to_do: ToDo
    aims: Aims
    items: Items | None
    rows: Sequence[Row]
    notes: Sequence[str]
    exit_code: ExitCode

    @property
    def own(self) -> Row | None:
        """Return the forecast of the job as it is; None if that was not asked for."""
        return next((row for row in self.rows if row.candidate.own), None)

    @property
    def best(self) -> Row | None:
        """Return the best candidate of several, if there is one.

        Of one model, that is the fastest. Of several, each with its fastest engine, it is the slowest that
        surely finishes: what a deeper network costs is time, and that one takes most of what there is.
        Without a time to finish by, none of several models is the best.
        """
        fastest: dict[str, Row] = {}
        for row in self.rows:
            if row.forecast is not None:
                fastest[row.candidate.model] = min(row, fastest.get(row.candidate.model, row), key=_duration)
        able = [*fastest.values()]
        if len({row.candidate.model for row in self.rows}) > 1:
            able = [row for row in able if row.finishes == "surely"]
        return max(able, key=_duration) if able and len(self.rows) > 1 else None

    def to_json(self) -> dict[str, Any]:
        """Return all of it, as `plan --json` prints it."""
        plan, until = self.to_do.plan, None
        if self.aims.until is not None:
            until = datetime.fromtimestamp(self.aims.until, timezone.utc).isoformat(timespec="seconds")
        return {
            "schema_version": 1,
            "job": self.job.name,
            "to_do": {
                "sources": len(self.to_do),
                "items": self.items and self.items.count.to_json(),
                "bytes": self.to_do.size or None,
            },
            "known": {
                "done": plan.done_before,
                "failed": plan.failed_before,
                "disappeared": plan.disappeared,
            },
            "passed_over": plan.passed_over.to_json(),
            "until": until,
            "price": self.aims.price,
            **_figures(self.own, self.aims),
            "candidates": [row.to_json(self.aims) for row in self.rows],
            "best": self.best and self.best.candidate.to_json(),
            "notes": list(self.notes),
            "stopped": self.exit_code is not ExitCode.DONE,
        }


def planned(job: Job, planning: Planning, price: float | None, asked_at: float) -> Planned:
    """Return what a planning that has ended has found; it was asked for at a time in seconds since 1970."""
    aims, now, rows = Aims.of(job, price, asked_at), time.time(), []
    for one in planning.candidates:
        told, finishes = None, None
        if one.failure is None and one.begun is not None:
            told = forecast(planning.to_do, planning.items, one.begun, one.trials)
        if told is not None and aims.until is not None:
            finishes = certainty(now + told.seconds.low, now + told.seconds.high, aims.until)
        rows.append(Row(one, told, finishes))
    notes = _notes(job) if planning.copies else []
    return Planned(job, planning.to_do, aims, planning.items, rows, notes, planning.exit_code)


def nothing_new(job: Job, to_do: ToDo, price: float | None, asked_at: float) -> Planned:
    """Return that there is nothing to do."""
    return Planned(job, to_do, Aims.of(job, price, asked_at), None, (), (), ExitCode.DONE)


def _figures(row: Row | None, aims: Aims) -> dict[str, Any]:
    """Return what is forecast, as `plan --json` prints it; null where nothing is."""
    if row is None or row.forecast is None:
        return dict.fromkeys(("forecast", "stages", "disk", "finishes"))
    told = row.forecast
    shares = {stage: round(share, 4) for stage, share in told.stages.items()}
    return {
        "forecast": told.to_json(aims.price),
        "stages": {"shares": shares, "limit": told.bottleneck},
        "disk": None if aims.room is None else aims.room.to_json(told),
        "finishes": row.finishes,
    }


def _duration(row: Row) -> float:
    return row.forecast.seconds.expected if row.forecast else 0.0


def _notes(job: Job) -> list[str]:
    """Return what trials have not measured that read copies."""
    if job.reader.fetches:
        return ["the trials read copies on this machine: fetching from the server comes on top"]
    return ["the trials read copies: what it takes to get them out of their archives or tables comes on top"]


def _room(job: Job) -> Room | None:
    """Return how much room there is for the results; None if they are in a bucket."""
    if not isinstance(job.output, Path):
        return None
    disk = job.output
    while not disk.exists():
        disk = disk.parent
    return Room(shutil.disk_usage(disk).free, min_free(job.run, disk))
