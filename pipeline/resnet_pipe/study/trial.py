"""A trial: one run of a job, with changes, on a sample of its input, in its own process and folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from resnet_pipe.errors import ExitCode, RunError, StoppedError
from resnet_pipe.job.job import Job
from resnet_pipe.job.syntax import dump
from resnet_pipe.process.child import Child, EndedError, ending
from resnet_pipe.run.stop import Stop
from resnet_pipe.store.disk import HOME
from resnet_pipe.study.source_sample import Sample

Changes = Mapping[str, object]
"""Dotted key to value, such as `infer.batch_size` to 16, in the place of what the job says."""

_PROCESS = "resnet_pipe.cli.main"
_ERROR = re.compile(r"^error: (.*)$", re.MULTILINE)


class TrialError(RunError):
    """A trial failed: the run ended in an error, was killed, took too long, or gave no row."""


@dataclass(frozen=True)
class Trials:
    """Runs trials of a job, one at a time. Nothing of the job's own is touched: not its output or metrics.

    The folder is for the files of the trials; each removes its own. `tick` is called several times a second.
    """

    job: Job
    sample: Sample
    folder: Path
    stop: Stop
    tick: Callable[[], None]

    def run(self, items: int, changes: Changes, limit_s: float) -> dict[str, Any]:
        """Run the job once, from nothing, as `resnet-pipe run` does, and return the contents of its run.json.

        It processes so many images, or about as many frames. The model may be one of the changes.

        Raises:
            TrialError: it failed.
            StoppedError: somebody asked for a stop.
        """
        place = self.folder / "trial"
        place.mkdir()
        try:
            reader = self.sample.lay_out(place / "input", items)
            self.sample.forget()
            _save(place / "job.yaml", self.job, reader, place / "out", changes)
            return _result(place, self._wait(place, limit_s))
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _wait(self, place: Path, limit_s: float) -> int:
        ends = time.monotonic() + limit_s

        def look() -> None:
            self.tick()
            if self.stop.signal is not None:
                raise StoppedError(f"{self.stop.signal.name}: stopped", self.stop.exit_code)
            if time.monotonic() > ends:
                raise TrialError(f"not finished after {limit_s:.0f} s")

        with (
            (place / "messages").open("wb") as messages,
            Child(_PROCESS, output=messages.fileno(), own_group=True) as process,  # its workers are in it
        ):
            process.send(["run", str(place / "job.yaml"), "--quiet"])
            with suppress(EndedError):
                process.receive(look=look)  # it says nothing
            return process.status()


def _save(path: Path, job: Job, reader: Changes, output: Path, changes: Changes) -> None:
    """Write the job of a trial: the job with other sources, another output and without what calls others."""
    values = job.model_dump(mode="json")
    values["reader"] |= reader
    nothing_beside_the_rows = {"metrics": None, "ping_url": None, "report": False, "trace": False}
    values["run"] |= nothing_beside_the_rows | {"max_failures": None}
    for writer in values["writer"]:
        writer["path"] = str(output)
    for name, value in changes.items():
        section, key = name.split(".")
        values[section][key] = value
    path.write_bytes(dump(values))


def _result(place: Path, status: int) -> dict[str, Any]:
    if status not in (ExitCode.DONE, ExitCode.SOME_FAILED):
        errors = _ERROR.findall((place / "messages").read_text(errors="backslashreplace"))
        raise TrialError(errors[-1] if errors else f"its process {ending(status)}")
    (path,) = (place / "out" / HOME / "runs").glob("*/run.json")
    result: dict[str, Any] = json.loads(path.read_bytes())
    if not result["items"]:
        with (place / "out" / "failures.jsonl").open() as lines:
            failure = json.loads(next(lines))
        raise TrialError(f"every source of the sample failed; the first one: {failure['message']}")
    return result


def steady_rate(result: Mapping[str, Any]) -> float:
    """Return the items a second of a run that goes on for long, from the run.json of a short one.

    The wait for the first batch, while the workers start, is left out. Where, on the contrary, they have
    begun to decode while the network was loaded, the rate is no higher than they can go on decoding.
    """
    measured = result["items"] / (result["run_seconds"] - result["first_batch_s"])
    reader, preprocess = result["stages"]["reader"], result["stages"]["preprocess"]
    decoding = (reader["busy_s"] + preprocess["busy_s"]) / reader["lanes"]  # the same workers do both
    return float(min(measured, result["items"] / decoding)) if decoding > 0 else float(measured)


@contextmanager
def trial_folder(output: Path) -> Iterator[Path]:
    """Make a folder for trials, on the disk that the job's output goes to; remove it in the end.

    It is hidden, and so no source of any job. Where the user may not write beside the output directory,
    it is in the system's directory for temporary files.
    """
    beside = output.parent
    while not beside.exists():
        beside = beside.parent
    if not os.access(beside, os.W_OK):
        beside = Path(gettempdir())
    with TemporaryDirectory(prefix=".resnet-pipe-", dir=beside, ignore_cleanup_errors=True) as folder:
        yield Path(folder)
