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
from resnet_pipe.ledger.ledger import LEDGER
from resnet_pipe.process.child import Child, EndedError, ending
from resnet_pipe.reader.listing import PassedOver
from resnet_pipe.reader.section import ReaderSection, nothing_found
from resnet_pipe.run.source_table import SourceTable
from resnet_pipe.run.stop import Stop
from resnet_pipe.store.store import HOME

MAX_ITEMS = 4096
"""A trial never has more, however fast the machine is."""
ITEMS_PER_SOURCE = 64
"""The sample takes the first frames of a video: seconds of many videos say more than all of one."""
MIN_SOURCES = 8
_BATCHES = 3
"""Batches in a trial for each lane, at least."""
_PROCESS = "resnet_pipe.cli.main"
_ERROR = re.compile(r"^error: (.*)$", re.MULTILINE)


class TrialError(RunError):
    """A trial failed: the run ended in an error, was killed, took too long, or gave no row."""


@dataclass(frozen=True)
class Sample:
    """Sources that represent all those that were found: at least one absolute path, evenly spread over them.

    The section is of the job's reader. By the extensions, it recognises sources.
    """

    section: ReaderSection
    extensions: frozenset[str]
    paths: tuple[Path, ...]
    found: int

    def sources(self, items: int) -> int:
        """Return from how many sources so many items come: of videos, from fewer, but always from several."""
        if not self.section.description.has_frames:
            return items
        return max(MIN_SOURCES, -(-items // ITEMS_PER_SOURCE))

    def lay_out(self, folder: Path, items: int) -> dict[str, object]:
        """Make a folder of links to about `items` items; of images, exactly as many, always the same.

        Links, and not a list of paths, because a small sample has to be read several times over to last long
        enough, and a reader takes each path once. Returned is the `reader` section of a job over the folder.
        """
        folder.mkdir()
        section = self.section.over_files() | {"path": [str(folder)], "recursive": False}
        count = self.sources(items)
        if self.section.description.has_frames:
            section |= self.section.limited(-(-items // count))
        for number in range(count):
            at = number * len(self.paths) // count if count < len(self.paths) else number % len(self.paths)
            path = self.paths[at]
            extension = path.suffix.lower()
            if extension not in self.extensions:
                extension = self.section.description.usual_extension
            (folder / f"{number:06d}{extension}").symlink_to(path)
        return section

    def forget(self) -> None:
        """Have Linux drop the images from its memory, so that every trial reads them from the disk.

        A job over new files does. From memory, one worker would look like enough where several have to wait
        for a slow disk together. Videos are large, and are read ahead.
        """
        if self.section.description.has_frames or not hasattr(os, "posix_fadvise"):
            return
        for path in self.paths:
            if path.is_file():  # opening a pipe would wait
                # What cannot be opened, the trial will report.
                with suppress(OSError), path.open("rb", buffering=0) as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def all_sources(job: Job, stop: Stop) -> SourceTable:
    """List the sources of a job, at least one; a stop that is asked for ends the listing.

    Raises:
        RunError: there are none, or a directory cannot be listed.
        StoppedError: somebody asked for a stop.
    """
    passed_over = PassedOver()
    table = stop.during(job.reader.make_reader().list_sources(passed_over), SourceTable)
    if not len(table):
        raise RunError(*nothing_found(job.reader, passed_over))
    return table


def take_sample(job: Job, sources: SourceTable, folder: Path, stop: Stop) -> Sample:
    """Choose a sample of sources of a job.

    Those that are no files, such as members of archives, are unpacked into the folder.

    Raises:
        RunError: a bucket or a server does not answer.
        StoppedError: somebody asked for a stop.
    """
    files, count = job.reader.make_reader().files, min(len(sources), MAX_ITEMS)
    places = {number * len(sources) // count for number in range(count)}
    chosen = [source for at, source in enumerate(sources) if at in places]
    paths = files.as_files(chosen, folder, lambda: stop.check("unpacking a sample"))
    return Sample(job.reader, files.extensions, tuple(paths), len(sources))


@dataclass(frozen=True)
class Trial:
    """What one run has done.

    Attributes:
        result: the contents of its run.json.
        seconds: from the start of its process to its end.
        chunks: that it has committed.
        written: bytes of its results, with their ledger.
    """

    result: dict[str, Any]
    seconds: float
    chunks: int
    written: int


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

    def run(self, items: int, changes: Mapping[str, object], limit_s: float) -> dict[str, Any]:
        """Run the job once, as `measure` does, and return the contents of its run.json."""
        return self.measure(items, changes, limit_s).result

    def measure(self, items: int, changes: Mapping[str, object], limit_s: float) -> Trial:
        """Run the job once, from nothing, as `resnet-pipe run` does.

        It processes so many images, or about as many frames. The changes are values in the place of the
        job's, by dotted keys such as `infer.batch_size` or `infer.model`.

        Raises:
            TrialError: it failed.
            StoppedError: somebody asked for a stop.
        """
        place = self.folder / "trial"
        place.mkdir()
        try:
            reader = self.sample.lay_out(place / "input", items)
            self.sample.forget()
            _save(place, self.job, reader, changes)
            started = time.monotonic()
            status = self._wait(place, limit_s)
            seconds = time.monotonic() - started
            result, out = _result(place, status), place / "out"
            return Trial(result, seconds, len([*(out / LEDGER).glob("*.json")]), _written(out))
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


def _save(place: Path, job: Job, reader: Mapping[str, object], changes: Mapping[str, object]) -> None:
    """Write the job of a trial: the job with other sources, another output and without what calls others."""
    values = job.model_dump(mode="json")
    values["reader"] = reader
    nothing_beside_the_rows = {"metrics": None, "report": False, "trace": False}
    nobody_told: dict[str, object] = {"ping_url": None, "notify": []}
    nothing_to_wait_for = {"until": None, "pause_file": None, "min_free": 0}
    values["run"] |= nothing_beside_the_rows | nobody_told | nothing_to_wait_for
    values["run"] |= {"max_failures": None, "canary": 0}
    for writer in values["writer"]:
        writer |= {"path": str(place / "out"), "storage": None}
    for name, value in changes.items():
        section, key = name.split(".")
        values[section][key] = value
    (place / "job.yaml").write_bytes(dump(values))


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


def _written(out: Path) -> int:
    """Return how many bytes are in an output directory, without what runs tell of themselves."""
    runs = out / HOME / "runs"
    files = (path for path in out.rglob("*") if not path.is_relative_to(runs))
    return sum(path.lstat().st_size for path in files if path.is_file())


def whole_batches(items: int, batch_size: int, lanes: int, least: int = _BATCHES) -> int:
    """Return about so many items that fill whole batches, as many for each lane: a stream of a device.

    Those are several each, at least: how the pipeline fills and drains must not count.
    """
    together = batch_size * lanes
    return max(least, -(-items // together)) * together


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
def open_trials(
    job: Job, stop: Stop, tick: Callable[[], None] = lambda: None, sources: SourceTable | None = None
) -> Iterator[Trials]:
    """Make a folder for trials of a job, on the disk that its output goes to; remove it in the end.

    It is hidden, and so no source of any job. Where the user may not write beside the output directory,
    it is in the system's directory for temporary files. The sample is of some of the job's sources, at least
    one, or of all. The errors are those of `all_sources` and `take_sample`.
    """
    if sources is None:
        sources = all_sources(job, stop)
    beside = job.output.parent if isinstance(job.output, Path) else Path(gettempdir())
    while not beside.exists():
        beside = beside.parent
    if not os.access(beside, os.W_OK):
        beside = Path(gettempdir())
    try:
        with TemporaryDirectory(prefix=".resnet-pipe-", dir=beside, ignore_cleanup_errors=True) as folder:
            unpacked = Path(folder, "unpacked")
            unpacked.mkdir()
            yield Trials(job, take_sample(job, sources, unpacked, stop), Path(folder), stop, tick)
    except OSError as error:
        raise RunError(
            f"trials are made in {beside}, and there: {error.strerror or error}", "free some space there"
        ) from error
