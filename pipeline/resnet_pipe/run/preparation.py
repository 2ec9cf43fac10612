"""What comes before a run: every choice made; the output directory recovered, checked, planned against."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from resnet_pipe.errors import RunError, UsageError
from resnet_pipe.job import self_feeding
from resnet_pipe.job.job import Job, LoadedJob
from resnet_pipe.job.resolve import Resolved, resolve
from resnet_pipe.ledger import fingerprint, generation
from resnet_pipe.ledger.ledger import Ledger
from resnet_pipe.ledger.record import Record
from resnet_pipe.reader.listing import PassedOver
from resnet_pipe.reader.packed import Packed
from resnet_pipe.reader.section import nothing_found
from resnet_pipe.reader.source import Source
from resnet_pipe.run.plan import Plan, Rules, make_plan
from resnet_pipe.run.prepared import Fresh, Prepared
from resnet_pipe.run.stop import Stop
from resnet_pipe.store.store import refused

_OF_A_DIVISION = re.compile(r"part-\d+of\d+-\d+\.")
"""The shards of `--divide I/N`."""
_CHUNK_BYTES = 8 << 10
"""Of a chunk besides its numbers: the header of the shard, the ledger's record, the run's log."""
_FEW = 10
"""Fewer than these are no share of anything: they are removed by hand."""
_ADVICE = "is a disk missing, has a bucket been emptied, or has reader.path changed?"
_REMEDY = (
    f"{_ADVICE} Restore it and run the same command again; if they were really removed, add"
    " --set run.max_disappeared=100% once"
)


def resolved(loaded: LoadedJob, fresh: bool, say: Callable[[str], None]) -> Resolved:
    """Return a job with its model and every choice made; of `engine: auto`, `say` is told.

    If `fresh`, the results in the output directory will be dropped.

    Raises:
        UsageError: the job and its model do not fit, or no engine can run the model as the job asks.
    """
    job, doc = loaded
    choice = None
    if job.infer.engine == "auto":
        from resnet_pipe.study.choice import choose

        job, choice = choose(job, doc, fresh, say)
    return resolve(job, doc, choice)


def inspect(resolved: Resolved, rules: Rules, fresh: Fresh, stop: Stop | None = None) -> Plan:
    """Return what a run would do, changing nothing.

    Raises:
        UsageError: the output directory was made with different settings.
        RunError: there is no input, too much of it has disappeared, or the ledger cannot be read.
        StoppedError: somebody asked for a stop.
    """
    ledger = Ledger(resolved.job.output)
    with refused(ledger.output):
        generation.refuse_half_switched(ledger)
        return _planned(resolved, ledger, list(ledger.records()), rules, fresh, stop or Stop()).plan


def refuse_mixture(resolved: Resolved) -> None:
    """Refuse a job whose output directory has rows made with different settings: UsageError."""
    ledger = Ledger(resolved.job.output)
    with refused(ledger.output):
        if not ledger.is_empty():
            fingerprint.check(ledger.store, resolved.fingerprint)


def prepare(resolved: Resolved, ledger: Ledger, rules: Rules, fresh: Fresh, stop: Stop) -> Prepared:
    """Recover from a crash, check that old and new results are compatible, and plan.

    The caller holds the lock.

    Raises:
        UsageError: the directory was made with different settings, or holds someone else's files.
        RunError: there is no input, too much of it has disappeared, a chunk has no room, or the ledger
            cannot be read.
        StoppedError: somebody asked for a stop.
    """
    ledger.recover()
    generation.complete(ledger)
    known = list(ledger.records())
    _refuse_strangers(ledger, known)
    if fresh is Fresh.AT_THE_END and generation.goes_on(ledger, resolved.fingerprint):
        generation.next_ledger(ledger).recover()
    prepared = _planned(resolved, ledger, known, rules, fresh, stop)
    freed = 0
    if fresh is Fresh.NOW:
        looks = (ledger.store.look(file.name) for record in known for file in record.files)
        freed = sum(file.size for file in looks if file)
    _refuse_full(resolved, prepared.plan, ledger.store.home, freed)
    return prepared


def _planned(
    resolved: Resolved, ledger: Ledger, known: Sequence[Record], rules: Rules, fresh: Fresh, stop: Stop
) -> Prepared:
    """Have the sources listed, and plan against what is there: rows of the `known` records, in the ledger.

    Refused are rows made with different settings, if they are to stay; no input; and to lose too many rows.
    """
    target, records = ledger, known
    if fresh is Fresh.AT_THE_END:
        target = generation.next_ledger(ledger)
        records = list(target.records()) if generation.goes_on(ledger, resolved.fingerprint) else []
    elif fresh is Fresh.NOW:
        records = []
    elif known:
        fingerprint.check(ledger.store, resolved.fingerprint, {one.fingerprint for one in known})
    # Rows that are gone make their sources new again; but only for the division whose chunk it is, which
    # forgets the record before.
    lost = tuple(one for one in records if rules.owns(one.chunk) and not target.is_intact(one))
    gone = {one.chunk for one in lost}
    kept = {one.chunk: one for one in records if one.chunk not in gone}
    replaced, there = fresh is not Fresh.NO, [*kept.values()]
    unseen: set[str] = set()
    if replaced:
        there = [one for one in known if ledger.is_intact(one)]
        columns = ((one.entries.keys, one.entries.rows) for one in there)
        unseen = {key for keys, rows in columns for key, count in zip(keys, rows, strict=True) if count}
        rules = replace(rules, prune=True)  # of what an earlier run of this command has made

    job, passed_over = resolved.job, PassedOver()
    reader = job.reader.make_reader()
    per_chunk = max(1, job.run.chunk_items // reader.expected_items)
    sources = self_feeding.refuse_own(reader.list_sources(passed_over), job)
    if replaced:
        sources = _striking_off(sources, unseen)
    packed = isinstance(reader.files, Packed)
    plan = stop.during(sources, lambda each: make_plan(each, kept, per_chunk, rules, target.used(), packed))
    disappeared = len(unseen) if replaced else plan.disappeared
    if plan.found == 0 and not job.reader.allow_empty:
        problem, remedy = nothing_found(job.reader, passed_over, disappeared)
        raise RunError(problem, f"{remedy}; to allow this, set reader.allow_empty: true")
    warning = _check_disappeared(job, there, disappeared, rules, replaced)
    plan = replace(plan, disappeared=disappeared, warning=warning, passed_over=passed_over)
    return Prepared(resolved, plan, ledger, target, lost, fresh)


def _striking_off(sources: Iterable[Source], unseen: set[str]) -> Iterator[Source]:
    """Yield the sources that are listed, and take their keys from those that the listing has not come to."""
    for source in sources:
        if not source.is_absent:
            unseen.discard(source.key)
        yield source


def _check_disappeared(job: Job, records: Iterable[Record], gone: int, rules: Rules, fresh: bool) -> str:
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
    """Tell of a place that sources were in and that is empty now, as is the mount point of a missing disk."""
    for place, prefix in job.reader.make_reader().files.empty_places():
        below = sum(key.startswith(prefix) for record in records for key in record.entries.keys)
        if below:
            return f"{place} is empty now, but {below} known sources were in it"
    return ""


def _refuse_strangers(ledger: Ledger, known: Sequence[Record]) -> None:
    """Refuse a directory with shards that no record names: a run would replace somebody's files."""
    named = {file.name for record in known for file in record.shards}
    shards = (file.name for file in ledger.store.list("") if file.name.startswith("part-"))
    others = sorted(name for name in shards if name not in named)
    # The other divisions of the job commit shards meanwhile.
    strangers = [name for name in others if not (ledger.tag and _OF_A_DIVISION.match(name))]
    if strangers:
        raise UsageError(
            f"{ledger.output} holds shards that are not in its ledger ({len(strangers)}): {strangers[0]}",
            "move them elsewhere, or use another writer.path",
        )


def chunk_bytes(resolved: Resolved, sources: int) -> int:
    """Return how many bytes a chunk of so many sources takes, about: the numbers of the rows, and the rest.

    Pictures and videos with labels come on top.
    """
    writers = resolved.job.writer
    row_bytes = sum(one.number_bytes * resolved.head.numbers(one.fields, one.k) for one in writers)
    return _CHUNK_BYTES + sources * resolved.job.reader.make_reader().expected_items * row_bytes


def _refuse_full(resolved: Resolved, plan: Plan, home: Path, freed: int) -> None:
    """Refuse a run if the disk of `home` has no room for its first chunk, with what is freed before."""
    chunk = next(iter(plan.chunks()), None)
    if chunk is None:
        return
    needed = chunk_bytes(resolved, len(chunk.sources))
    free = shutil.disk_usage(home).free + freed
    if free < needed:
        raise RunError(
            f"No space left on device for a chunk: the disk of {home.parent} has {free >> 10} KiB free,"
            f" and about {needed >> 10} KiB are needed",
            "free some space, or use another writer.path; a smaller run.chunk_items needs less at once",
        )
