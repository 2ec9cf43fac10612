"""A whole output directory: its results, new ones next to them, and what interrupted runs have left."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from resnet_pipe.errors import RunError, UsageError
from resnet_pipe.ledger import fingerprint, generation
from resnet_pipe.ledger.check import merged_check
from resnet_pipe.ledger.check.committed import Examiner
from resnet_pipe.ledger.check.findings import Counts, Kind, Problem, Verdict
from resnet_pipe.ledger.check.generation_check import Ledgers, Results
from resnet_pipe.ledger.generation import NEXT, SWITCH
from resnet_pipe.ledger.ledger import TEMPORARY, DirectoryLedger
from resnet_pipe.store.lock import is_held
from resnet_pipe.store.names import key_of
from resnet_pipe.store.store import HOME

_PAUSES_S = (0.5, 1.0, 2.0, 4.0)
"""Between looks at what a run is changing."""
_SWITCH_S = 60.0
"""How long to wait for a run that puts new results in their place."""
_OF_NEXT = (
    f"run the job with --fresh again to recreate what is lost; or, to give up the new results, remove {NEXT}"
)


def check(output: Path) -> Verdict:
    """Look whether the results in a directory are what the ledger says. A run may be at work there.

    What seems wrong while a run is at work is looked at again: only what stays wrong is a problem.

    Raises:
        UsageError: no job has written there.
        RunError: it cannot be read.
    """
    try:
        output = output.resolve()
        if not (output / HOME).is_dir():
            raise UsageError(
                f"{output} is not a run's output directory: it has no {HOME}",
                "give the writer.path of a job that has run",
            )
        return _Check(output).settle()
    except OSError as error:
        raise RunError(
            f"{error.filename or output} cannot be read: {error.strerror or error}",
            "check that the disk is mounted and healthy, and that you may read it",
        ) from error


@dataclass
class _Check:
    """A check of one directory, which waits for a switch until a time of `time.monotonic`, in seconds."""

    output: Path
    examiner: Examiner = field(default_factory=Examiner)
    until: float = field(default_factory=lambda: time.monotonic() + _SWITCH_S)

    def settle(self) -> Verdict:
        """Look until nothing is wrong, or no run is at work, or it has been looked often enough."""
        before: list[Problem] | None = None
        for pause in (*_PAUSES_S, None):
            self._wait_for_switch()
            traces = self._traces()
            try:
                verdict = self._look()
            except FileNotFoundError:  # a directory of new results has gone while it was listed
                if pause is None:
                    raise
                continue
            if not verdict.problems or not (is_held(self._home) or self._traces() != traces):
                return verdict
            if pause is not None:
                before = list(verdict.problems)
                time.sleep(pause)
        places = {(problem.kind, problem.path) for problem in before or ()}
        lasting = [problem for problem in verdict.problems if (problem.kind, problem.path) in places]
        return replace(verdict, problems=lasting)

    @property
    def _home(self) -> Path:
        return self.output / HOME

    def _wait_for_switch(self) -> None:
        while (self.output / SWITCH).exists() and is_held(self._home) and time.monotonic() < self.until:
            time.sleep(0.1)

    def _traces(self) -> list[tuple[str, int, int]]:
        """Return a signature that changes once a run has been active."""
        paths = [self._home / "ledger", self.output / fingerprint.NAME, *self._home.glob("lock*")]
        there = [(path.name, path.stat()) for path in paths if path.exists()]
        return [(name, state.st_ino, state.st_mtime_ns) for name, state in there]

    def _look(self) -> Verdict:
        ledger = DirectoryLedger(self.output)
        held = is_held(self._home)
        problems: list[Problem] = []
        try:
            switch = generation.read_switch(ledger)
        except RunError as error:
            text = error.problem.removeprefix(f"{self.output / SWITCH}: ")
            wrong = Problem("switch", SWITCH, text, error.remedy or "")
            note = "nothing else was checked: it is not known which results are current"
            return Verdict(self.output, Counts(), None, [wrong], [note])
        new = DirectoryLedger(self.output / NEXT)
        ledgers, beside = Ledgers([ledger]), Ledgers([new])
        if switch is not None:
            ledgers = Ledgers([new, ledger], frozenset(switch["chunks"]), set(switch["files"]))
            text = "a run was interrupted while new results were replacing the old ones"
            remedy = "run the job again; it first completes the replacement"
            if held:
                text = "new results are replacing the old ones"
                remedy = "check again when the current run has ended"
            problems.append(Problem("switch", SWITCH, text, remedy))
        results = Results(self.output, ledgers, self.examiner)
        results.look()
        problems += results.problems
        if switch is None:
            problems += merged_check.problems(ledger)
        growing = None
        if switch is None and generation.is_begun(ledger):
            growing = Results(self.output, beside, self.examiner)
            growing.look()
            problems += [
                replace(problem, text=f"new results: {problem.text}", remedy=_OF_NEXT)
                for problem in growing.problems
            ]
        notes = [*self._notes(ledger, ledgers, beside, held, growing is not None)]
        problems.sort(key=lambda problem: (get_args(Kind).index(problem.kind), problem.path))
        return Verdict(self.output, results.counts, growing.counts if growing else None, problems, notes)

    def _notes(
        self, ledger: DirectoryLedger, results: Ledgers, beside: Ledgers, held: bool, growing: bool
    ) -> Iterator[str]:
        if held:
            yield "a run is active here; what it committed in the meantime was checked too"
            return
        if growing:
            yield (
                f"new results have been started, in {NEXT}, and the old ones are still"
                " current; --fresh continues, or remove that directory"
            )
        yield from merged_check.notes(ledger)
        for path in (*results.pending, *beside.pending):
            yield f"{self._name(path)}: interrupted commit; the next run completes it"
        for path in (*results.torn, *beside.torn):
            yield f"{self._name(path)}: incomplete record; the next run removes it"
        staged = _count(self._home / "staging")
        if staged and not results.pending:
            yield f"{HOME}/staging: {staged:,} files of unfinished chunks; the next run removes them"
        if spooled := _count(ledger.store.spool.parent):
            yield f"{HOME}/spool: {spooled:,} finished spans of videos; the next run continues with them"
        for path in ledger.store.half_put(TEMPORARY):
            yield f"{self._name(path)}: incomplete, of an interrupted run; the next run removes it"

    def _name(self, path: Path) -> str:
        return key_of(str(path.relative_to(self.output)))


def _count(directory: Path) -> int:
    """Return how many files are below a directory."""
    return sum(len(names) for _, _, names in os.walk(directory))
