"""A job must not read what it writes: annotated images would become sources the next night, and so on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_pipe.errors import UsageError
from resnet_pipe.reader.source import Source
from resnet_pipe.store.address import Address
from resnet_pipe.store.names import path_of
from resnet_pipe.store.store import HOME

if TYPE_CHECKING:
    from resnet_pipe.job.job import Job
    from resnet_pipe.job.syntax import Place
    from resnet_pipe.writer.writer import WriterSection

_FILES = ("part-*", "failures.jsonl", "metrics*.prom")
"""What a run writes into its output directory itself."""
_TABLES = (".csv", ".jsonl", ".parquet")
"""What the names of some of these end in."""
_REMEDY = "a writer.path outside it, or a reader.path that excludes it"


def problems(job: Job) -> list[tuple[Place, str]]:
    """Return where a job would read what it writes: nothing if its reader does not take such files.

    What needs no look at the disk but at the entries of `reader.path`; `refuse_own` sees the rest.
    """
    reach = job.reader.make_reader().reach
    found = [*_own_files(job, job.output if isinstance(job.output, Path) else job.output.address)]
    metrics = job.run.metrics
    if metrics is not None and reach.holds(metrics):
        text = f"the next run would read {metrics}: use a path that reader.path does not cover"
        found.append((("run", "metrics"), text))
    return found


def _own_files(job: Job, output: Path | Address) -> Iterator[tuple[Place, str]]:
    reach = job.reader.make_reader().reach
    for index, writer in enumerate(job.writer):
        for folder in (output / writer.kind, output / HOME / "staging"):
            if any(reach.may_hold_below(folder, suffix) for suffix in writer.suffixes):
                text = f"the next run would read what this one writes into {folder}: use {_REMEDY}"
                yield (*job.writer_place(index), "path"), text
                break
    if any(reach.may_hold_below(output, suffix) for suffix in _TABLES):
        text = f"the next run would read what this one writes into {output}: use {_REMEDY}"
        yield ("reader", "path"), text
    for file in reach.files():
        if isinstance(output, Path) and _is_own(job, output, file.resolve()):
            text = f"{file} is written by the run itself; exclude it, or use another writer.path"
            at = (job.reader.path.index(file),) if len(job.reader.path) > 1 else ()
            yield ("reader", "path", *at), text


def refuse_own(sources: Iterable[Source], job: Job) -> Iterator[Source]:
    """Yield the sources of a job as they are listed; UsageError if one is where the job writes.

    Links on the way of a listing may lead into the output directory, and manifests may name what is there.
    """
    reader, last = job.reader.make_reader(), None
    root, output = reader.root, job.output if isinstance(job.output, Path) else job.output.address
    if isinstance(root, Path) != isinstance(output, Path):
        yield from sources
        return
    extensions = reader.reach.extensions | reader.files.extensions
    folders = _folders(output, [one for one in job.writer if extensions.intersection(one.suffixes)])
    for source in sources:
        above = source.key.rpartition("/")[0]
        if above != last:  # once for each directory: they are sorted
            last, directory = above, path_of(root, above) if isinstance(root, Path) else f"{root}/{above}"
            # This raises nothing, even if links lead in a circle.
            place = os.path.realpath(directory) if isinstance(root, Path) else directory
            if any(f"{place}/".startswith(f"{folder}/") for folder in folders):
                raise UsageError(f"{directory} leads to this job's own results, in {place}", f"use {_REMEDY}")
        yield source


def check_file(job: Job, file: Path) -> None:
    """Check a file that another command is to write; UsageError if the job would take it for a source."""
    if job.reader.make_reader().reach.holds(file):
        raise UsageError(
            f"{file} would be read as a source of the job",
            "choose a directory that reader.path does not cover",
        )


def _folders(output: Path | Address, writers: Iterable[WriterSection]) -> list[Path | Address]:
    """Return the folders of the output directory that belong to the job and some of its writers."""
    return [output / name for name in (HOME, *(writer.kind for writer in writers))]


def _is_own(job: Job, output: Path, file: Path) -> bool:
    writers = [writer for writer in job.writer if writer.suffixes]
    return any(file.is_relative_to(str(folder)) for folder in _folders(output, writers)) or (
        file.parent == output and any(fnmatchcase(file.name, pattern) for pattern in _FILES)
    )
