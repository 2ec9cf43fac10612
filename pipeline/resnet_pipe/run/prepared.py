"""A planned run: what it changes in the output directory before its first chunk, and after its last one."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from resnet_pipe.job.resolve import Resolved
from resnet_pipe.ledger import fingerprint, generation, merged, standing
from resnet_pipe.ledger.ledger import Ledger
from resnet_pipe.ledger.record import Record
from resnet_pipe.ledger.standing import Standing
from resnet_pipe.run.plan import Plan
from resnet_pipe.run.stop import Stop
from resnet_pipe.writer.writer import Target


class Fresh(Enum):
    """What becomes of the results that are there."""

    NO = "no"
    """They stay, and new ones are added."""
    AT_THE_END = "at the end"
    """They stay until all new ones are complete, and are replaced by these then."""
    NOW = "now"
    """They are dropped before the first new one is written."""


@dataclass(frozen=True)
class Prepared:
    """A planned run. So far, only what a crash had left half done has been changed.

    Attributes:
        results: the ledger of the output directory.
        ledger: that the chunks are committed to: this one, or that of the next generation.
        lost: records whose files are gone, so that their sources are new again.
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
            LockedError: another run has begun meanwhile.
        """
        ours, store = self.resolved.fingerprint, self.ledger.store
        if self.fresh is Fresh.AT_THE_END and not generation.goes_on(self.results, ours):
            generation.begin(self.results)
        if new := [*self.plan.new_chunks()]:
            self.ledger.claim(new)
        with store.alone():
            has_rows = not self.ledger.is_empty() and self.fresh is not Fresh.NOW
            if has_rows or store.neighbours_run():  # they may have begun with another job
                fingerprint.check(store, ours)
            with fingerprint.saving(store, ours, has_rows):
                if self.fresh is Fresh.NOW:  # not before the disk has taken something
                    self._drop()
        for record in self.lost:
            self.ledger.remove(record)

    def _drop(self) -> None:
        merged.remove(self.results)
        for record in list(self.results.records()):
            self.results.remove(record)
        shutil.rmtree(self.results.store.spool, ignore_errors=True)
        generation.drop(self.results)

    def end(self) -> Prepared:
        """Put the results in the place of those of before, if that was to be; return the run as it is now."""
        if self.fresh is not Fresh.AT_THE_END:
            return self
        generation.switch(self.results)
        shutil.rmtree(self.results.store.spool, ignore_errors=True)  # of what has just been replaced
        return replace(self, ledger=self.results)

    def write_failures(self) -> Standing:
        """Write the failures, in the output directory and, if separate, in the new results."""
        if self.ledger is not self.results and generation.is_begun(self.results):
            standing.write(self.ledger)
        return standing.write(self.results)

    def merge(self, stop: Stop) -> None:
        """Make the files of all chunks together; of `--fresh`, when the new results are in their place.

        Raises:
            RunError: they cannot be made; those of before are still there.
            StoppedError: somebody has asked twice for a stop.
        """
        if self.ledger is not self.results:
            return  # those of before are of the old results, which still count
        resolved, reader = self.resolved, self.resolved.job.reader
        files, has_frames = reader.make_reader().files, reader.description.has_frames
        targets = [
            Target(Path(), "", resolved.schema([section]), files, reader.track, has_frames)
            for section in resolved.job.writer
        ]

        def go_on() -> None:
            if stop.now:
                stop.check("making one file of all chunks")

        merged.write(self.results, list(zip(resolved.job.writer, targets, strict=True)), go_on)

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
