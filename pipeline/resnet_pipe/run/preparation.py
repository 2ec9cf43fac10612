"""The output directory as a run finds it: recovered, checked, and planned against."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from resnet_pipe.errors import RunError, UsageError
from resnet_pipe.job import self_feeding
from resnet_pipe.job.job import Job
from resnet_pipe.job.resolve import Resolved
from resnet_pipe.ledger import fingerprint, generation
from resnet_pipe.ledger.fingerprint import Fingerprint
from resnet_pipe.ledger.ledger import HOME, Ledger
from resnet_pipe.ledger.lock import neighbours_run, report_lock
from resnet_pipe.ledger.record import Record
from resnet_pipe.ledger.standing import Standing
from resnet_pipe.reader.nothing import nothing_found
from resnet_pipe.reader.passed_over import PassedOver
from resnet_pipe.run import disappeared
from resnet_pipe.run.chunk import failure_lines
from resnet_pipe.run.disappeared import Unseen
from resnet_pipe.run.disk_space import refuse_full
from resnet_pipe.run.plan import Plan, Rules, make_plan
from resnet_pipe.run.stop import Stop
from resnet_pipe.store import atomic

FAILURES = "failures.jsonl"
_OF_A_DIVISION = re.compile(r"part-\d+of\d+-\d+\.")
"""The shards of `--divide I/N`."""


class Fresh(Enum):
    """What becomes of the results that are there.

    Attributes:
        NO: they stay, and new ones are added.
        AT_THE_END: they stay until all new ones are complete, and are replaced by these then.
        NOW: they are dropped before the first new one is written.
    """

    NO = "no"
    AT_THE_END = "at the end"
    NOW = "now"


@dataclass(frozen=True)
class Prepared:
    """A planned run. So far, only what a crash had left half done has been changed.

    Attributes:
        resolved: the job.
        plan: what there is to do.
        results: the ledger of the output directory.
        ledger: that the chunks are committed to: this one, or that of the next generation.
        lost: records whose files are gone, so that their sources are new again.
        fresh: what becomes of the results that are there.
    """

    resolved: Resolved
    plan: Plan
    results: Ledger
    ledger: Ledger
    lost: tuple[Record, ...]
    fresh: Fresh

    @property
    def allowance(self) -> tuple[int, int]:
        """Sources of which a share may fail, and how many of these have: of `--fresh`, in all its runs."""
        if self.fresh is not Fresh.AT_THE_END:
            return self.plan.planned, 0
        return self.plan.planned + self.plan.skipped, self.plan.failed_before

    def begin(self) -> None:
        """Make the directory ready for the first chunk: everything that can be refused has been.

        Raises:
            UsageError: another division of the job has begun meanwhile, with another job.
        """
        if self.fresh is Fresh.AT_THE_END and not generation.goes_on(self.results, self._ours):
            generation.begin(self.results)
        home, tag = self.ledger.output / HOME, self.ledger.tag
        with report_lock(home):
            has_rows = not self.ledger.is_empty() and self.fresh is not Fresh.NOW
            if has_rows or neighbours_run(home, tag):  # which may have begun meanwhile, with another job
                fingerprint.check(home, self._ours)
            with fingerprint.saving(home, self._ours, has_rows, tag):
                if self.fresh is Fresh.NOW:  # not before the disk has taken something
                    self._drop()
        for record in self.lost:
            self.ledger.remove(record)

    def _drop(self) -> None:
        for record in list(self.results.records()):
            self.results.remove(record)
        shutil.rmtree(self.results.spool, ignore_errors=True)
        generation.drop(self.results)

    def end(self) -> Prepared:
        """Put the results in the place of those of before, if that was to be: all of them are committed.

        Returns:
            the run as it is then: its chunks are in the output directory itself.
        """
        if self.fresh is not Fresh.AT_THE_END:
            return self
        generation.switch(self.results)
        shutil.rmtree(self.results.spool, ignore_errors=True)  # of what has just been replaced
        return replace(self, ledger=self.results)

    def write_failures(self) -> Standing:
        """Write the failures, in the output directory and, if separate, in the new results."""
        if self.ledger is not self.results and generation.is_begun(self.results):
            write_failures(self.ledger)
        return write_failures(self.results)

    def unfinished(self) -> str | None:
        """Return a note on new results that are not in place yet; None if there are none."""
        if not generation.is_begun(self.results):
            return None
        place = generation.next_ledger(self.results).output
        if self.fresh is Fresh.AT_THE_END:
            return (
                f"the old results are intact and still current; the new ones so far are in {place}:"
                " the same command continues with them"
            )
        return f"{place} holds unfinished new results: --fresh continues with them, or remove that directory"

    @property
    def _ours(self) -> Fingerprint:
        return self.resolved.fingerprint


def inspect(resolved: Resolved, rules: Rules, fresh: Fresh) -> Plan:
    """Return what a run would do, changing nothing.

    Raises:
        UsageError: the output directory was made with different settings.
        RunError: there is no input, too much of it has disappeared, or the ledger cannot be read.
    """
    ledger = Ledger(resolved.job.output)
    if not (ledger.output / HOME).is_dir():
        return _plan(resolved.job, None, {}, [], rules, fresh)
    generation.refuse_half_switched(ledger)
    found = list(ledger.records())
    _, records, _ = _records(resolved, ledger, found, rules, fresh)
    there = _there(ledger, found, records, fresh)
    return _plan(resolved.job, None, records, there, rules, fresh)


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
    found = list(ledger.records())
    _refuse_strangers(ledger, found)
    if fresh is Fresh.AT_THE_END and generation.goes_on(ledger, resolved.fingerprint):
        generation.next_ledger(ledger).recover()
    target, records, lost = _records(resolved, ledger, found, rules, fresh)
    there = _there(ledger, found, records, fresh)
    plan = _plan(resolved.job, stop, records, there, rules, fresh)
    freed = _bytes(ledger, found) if fresh is Fresh.NOW else 0
    expected = resolved.job.reader.make_reader().expected_items
    refuse_full(resolved, plan, expected, ledger.output, freed)
    return Prepared(resolved, plan, ledger, target, tuple(lost), fresh)


def _records(
    resolved: Resolved, ledger: Ledger, found: list[Record], rules: Rules, fresh: Fresh
) -> tuple[Ledger, dict[str, Record], list[Record]]:
    """Return the ledger that a run commits to, its records by chunk, and those whose files are gone.

    The rows of such a record are gone, so its sources are new again; but only to the division whose chunk it
    is, which forgets the record before.

    Args:
        resolved: the job.
        ledger: of the output directory.
        found: its records.
        rules: whose chunks are this run's.
        fresh: what becomes of the results that are there.

    Raises:
        UsageError: these rows were made with different settings.
    """
    target = ledger
    if fresh is Fresh.AT_THE_END:
        target = generation.next_ledger(ledger)
        found = list(target.records()) if generation.goes_on(ledger, resolved.fingerprint) else []
    elif fresh is Fresh.NOW:
        found = []
    elif found:
        fingerprint.check(ledger.output / HOME, resolved.fingerprint, {one.fingerprint for one in found})
    mine = (record for record in found if rules.owns(record.chunk))
    lost = [record for record in mine if not target.is_intact(record)]
    gone = {record.chunk for record in lost}
    return target, {record.chunk: record for record in found if record.chunk not in gone}, lost


def _there(ledger: Ledger, found: Sequence[Record], records: dict[str, Record], fresh: Fresh) -> list[Record]:
    """Return the records of the rows that are there, whether a run adds to them or replaces them.

    Args:
        ledger: of the output directory.
        found: its records.
        records: that the run adds to.
        fresh: whether it replaces others.
    """
    if fresh is Fresh.NO:
        return list(records.values())
    return [record for record in found if ledger.is_intact(record)]


def _bytes(ledger: Ledger, found: Sequence[Record]) -> int:
    """Return the size of all files that belong to a directory's rows."""
    paths = (ledger.path(file) for record in found for file in record.files)
    return sum(path.stat().st_size for path in paths if path.exists())


def write_failures(ledger: Ledger) -> Standing:
    """Write failures.jsonl, with every failure in the ledger; return how many there are."""
    path = ledger.output / FAILURES
    with (
        report_lock(ledger.output / HOME),
        atomic.replacing(path, ledger.tag) as temporary,
        temporary.open("w", encoding="utf-8") as file,
    ):
        counts: Counter[object] = Counter()
        for line in failure_lines(ledger.records()):
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            counts[line["status"]] += 1
    return Standing(counts["failed"], counts["partial"])


def _plan(
    job: Job,
    stop: Stop | None,
    records: dict[str, Record],
    there: Sequence[Record],
    rules: Rules,
    fresh: Fresh,
) -> Plan:
    per_chunk = max(1, job.run.chunk_items // job.reader.make_reader().expected_items)
    replaced = fresh is not Fresh.NO
    unseen = Unseen(there if replaced else ())
    if replaced:
        rules = replace(rules, prune=True)  # of what an earlier run of this command has made
    passed_over = PassedOver()
    sources = self_feeding.refuse_own(job.reader.make_reader().list_sources(passed_over), job)
    if stop is not None:
        sources = stop.during(sources)
    plan = make_plan(unseen.passing(sources), records, per_chunk, rules)
    gone = len(unseen) if replaced else plan.disappeared
    if plan.found == 0 and not job.reader.allow_empty:
        problem, remedy = nothing_found(job.reader, passed_over, gone)
        raise RunError(problem, f"{remedy}; to allow this, set reader.allow_empty: true")
    warning = disappeared.check(job, there, gone, rules, replaced)
    return replace(plan, warning=warning, passed_over=passed_over)


def _refuse_strangers(ledger: Ledger, found: Sequence[Record]) -> None:
    """Refuse a directory with shards that no record names: a run would replace somebody's files.

    Raises:
        UsageError: there are such files.
    """
    known = {file.name for record in found for file in record.shards}
    others = sorted(path.name for path in ledger.output.glob("part-*") if path.name not in known)
    # The other divisions of the job commit shards meanwhile.
    strangers = [name for name in others if not (ledger.tag and _OF_A_DIVISION.match(name))]
    if strangers:
        raise UsageError(
            f"{ledger.output} holds shards that are not in its ledger ({len(strangers)}): {strangers[0]}",
            "move them elsewhere, or use another writer.path",
        )
