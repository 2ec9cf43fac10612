"""Known sources that are gone: somebody has removed them, or a disk is missing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from resnet_pipe.errors import RunError
from resnet_pipe.job.job import Job
from resnet_pipe.ledger.record import Record
from resnet_pipe.reader.listing import split
from resnet_pipe.reader.source import Source
from resnet_pipe.run.plan import Rules
from resnet_pipe.store.names import key_of

_FEW = 10
"""Fewer than these are no share of anything: they are removed by hand."""
_ADVICE = "is a disk missing, or has reader.path changed?"
_REMEDY = (
    f"{_ADVICE} Restore it and run the same command again; if they were really removed, add"
    " --set run.max_disappeared=100% once"
)


def striking_off(sources: Iterable[Source], unseen: set[str]) -> Iterator[Source]:
    """Yield the sources that are listed, and take their keys from those that the listing has not come to."""
    for source in sources:
        unseen.discard(source.key)
        yield source


def check(job: Job, records: Iterable[Record], gone: int, rules: Rules, fresh: bool) -> str:
    """Refuse to give up the rows of many sources that are gone at once; the job says how many may be.

    Of the records, which are those of the ledger as it is, this run's division counts: `gone` is how many of
    their sources the reader has not listed. If `fresh`, all rows are replaced by those of what is there.

    Returns what to warn of in a run that keeps their rows; empty if there is nothing unusual.

    Raises:
        RunError: too many are gone, and their rows would be lost. Nothing has been changed.
    """
    mine = [record for record in records if rules.owns(record.chunk)]
    known = sum(len(record.entries) for record in mine)
    limit = job.run.disappeared_limit(known)
    if gone == 0 or limit >= known:
        return ""
    problem = _emptied(job, mine)
    if not problem and gone > limit and (isinstance(job.run.max_disappeared, int) or gone >= _FEW):
        allowed = f"more than run.max_disappeared ({job.run.max_disappeared}) allows"
        problem = f"{gone} of {known} known sources have disappeared, {allowed}"
    if not problem:
        return ""
    if fresh or rules.prune:
        raise RunError(f"{problem}: {'--fresh' if fresh else '--prune'} would drop their rows", _REMEDY)
    return f"{problem}; their rows are kept: {_ADVICE}"


def _emptied(job: Job, records: Iterable[Record]) -> str:
    """Tell of an entry of `reader.path` that is empty now, as is the mount point of a missing disk."""
    root = job.reader.make_reader().root
    for start in {split(entry)[0] for entry in job.reader.path}:
        if not start.is_dir() or not _is_empty(start):
            continue
        prefix = "" if start == root else f"{key_of(str(start.relative_to(root)))}/"
        keys = (entry.source.key for record in records for entry in record.entries)
        below = sum(key.startswith(prefix) for key in keys)
        if below:
            return f"{start} is empty now, but {below} known sources were in it"
    return ""


def _is_empty(directory: Path) -> bool:
    """Tell whether a directory holds nothing but hidden names, which no reader takes."""
    with os.scandir(directory) as entries:
        return all(entry.name.startswith(".") for entry in entries)
