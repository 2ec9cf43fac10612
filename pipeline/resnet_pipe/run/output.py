"""The output directory as a run finds it: recovered, checked, and planned against."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator

from resnet_pipe import atomic
from resnet_pipe.errors import RunError, UsageError
from resnet_pipe.job import Job
from resnet_pipe.plan import Part, Plan, Rules, make_plan
from resnet_pipe.reader.reader import make_reader
from resnet_pipe.reader.source import Source
from resnet_pipe.resolve import Resolved
from resnet_pipe.run import fingerprint
from resnet_pipe.run.chunk import failure_lines
from resnet_pipe.run.ledger import HOME, Ledger, Record
from resnet_pipe.run.lock import report_lock
from resnet_pipe.run.stop import Stop

_OF_A_PART = re.compile(r"part-\d+of\d+-\d+\.")
"""The shards of `--shard I/N`."""
_WHAT = {"images": "images", "video": "videos"}


def inspect(resolved: Resolved, rules: Rules, fresh: bool) -> Plan:
    """Return what a run would do, changing nothing.

    Raises:
        UsageError: the output directory holds results of another making.
        RunError: there is no input, or the ledger cannot be read.
    """
    output = resolved.job.output
    records: dict[str, Record] = {}
    if (output / HOME).is_dir() and not fresh:
        fingerprint.check(output / HOME, resolved.fingerprint)
        ledger = Ledger(output)
        records = {record.chunk: record for record in ledger.records() if ledger.is_intact(record)}
    return _plan(resolved.job, _sources(resolved.job), records, rules)


def prepare(resolved: Resolved, ledger: Ledger, rules: Rules, fresh: bool, stop: Stop) -> Plan:
    """Recover from a crash, check that old and new results may stand together, and plan.

    The caller holds the lock.

    Raises:
        UsageError: the directory holds results of another making, or files of somebody else.
        RunError: there is no input, or the ledger cannot be read.
        StoppedError: somebody asked for a stop.
    """
    ledger.recover()
    if not fresh:
        fingerprint.check(ledger.output / HOME, resolved.fingerprint)
    records = {record.chunk: record for record in _intact(ledger, rules.part)}
    _refuse_strangers(ledger, records)
    plan = _plan(resolved.job, stop.during(_sources(resolved.job)), {} if fresh else records, rules)
    if fresh:  # now that there is input to take the place of what is dropped
        for record in records.values():
            ledger.remove(record)
        shutil.rmtree(ledger.spool, ignore_errors=True)
    with report_lock(ledger.output / HOME):
        if not fresh:  # another part may have begun meanwhile, with another job
            fingerprint.check(ledger.output / HOME, resolved.fingerprint)
        fingerprint.save(ledger.output / HOME, resolved.fingerprint, ledger.tag)
    return plan


def write_failures(ledger: Ledger) -> None:
    """Write failures.jsonl: every failure that stands in the ledger."""
    path = ledger.output / "failures.jsonl"
    with (
        report_lock(ledger.output / HOME),
        atomic.replacing(path, ledger.tag) as temporary,
        temporary.open("w", encoding="utf-8") as file,
    ):
        for line in failure_lines(ledger.records()):
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _sources(job: Job) -> Iterator[Source]:
    return make_reader(job.reader).list_sources()


def _plan(job: Job, sources: Iterator[Source], records: dict[str, Record], rules: Rules) -> Plan:
    per_chunk = max(1, job.run.chunk_items // make_reader(job.reader).expected_items)
    plan = make_plan(sources, records, per_chunk, rules)
    if plan.found == 0 and not job.reader.allow_empty:
        places = ", ".join(map(str, job.reader.path))
        before = f", but {plan.disappeared} were there before" if plan.disappeared else ""
        raise RunError(
            f"no {_WHAT[job.reader.kind]} found in {places}{before}",
            "check reader.path, and that the disk is mounted; reader.allow_empty: true accepts none",
        )
    return plan


def _intact(ledger: Ledger, part: Part | None) -> list[Record]:
    """Return the records whose files are there. Without one of them a record is forgotten.

    Its rows are gone, so its sources are new again.
    """
    records = []
    for record in list(ledger.records()):
        if ledger.is_intact(record):
            records.append(record)
        elif part is None or part.owns(record.chunk):
            ledger.remove(record)
    return records


def _refuse_strangers(ledger: Ledger, records: dict[str, Record]) -> None:
    """Refuse a directory with shards that no record names: a run would replace somebody's files.

    Raises:
        UsageError: there are such files.
    """
    known = {file.name for record in records.values() for file in record.shards}
    others = sorted(path.name for path in ledger.output.glob("part-*") if path.name not in known)
    # The other parts of a divided job commit shards meanwhile.
    strangers = [name for name in others if not (ledger.tag and _OF_A_PART.match(name))]
    if strangers:
        raise UsageError(
            f"{ledger.output} holds {len(strangers)} shards its ledger does not know: {strangers[0]} ...",
            "move them away, or use another writer.path",
        )
