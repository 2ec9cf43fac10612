"""What a check has found: counts, problems with what to do about each, notes; as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import ByteSize

from resnet_pipe.errors import ExitCode
from resnet_pipe.store.store import Output

SCHEMA_VERSION = 1
SHOWN = 20
"""Problems of one kind that are printed, with one remedy; of more, their number."""

Kind = Literal[
    "switch", "record", "fingerprint", "missing", "changed", "unreadable", "rows", "twice", "unknown"
]
_HEADINGS: dict[Kind, str] = {
    "switch": "incomplete switch to new results",
    "record": "unusable ledger records",
    "fingerprint": "fingerprints that do not match",
    "missing": "missing files",
    "changed": "changed files (different SHA-256)",
    "unreadable": "unreadable files",
    "rows": "files whose rows do not match their record",
    "twice": "sources that are in the ledger twice",
    "unknown": "files that are in no record",
}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and what to do; kinds are short and stable.

    The path is below the output directory, in the text form of `key_of`.
    """

    kind: Kind
    path: str
    text: str
    remedy: str


@dataclass
class Counts:
    """What has been checked: records, what they name, and the bytes of the files."""

    records: int = 0
    sources: int = 0
    rows: int = 0
    files: int = 0
    bytes: int = 0

    def __str__(self) -> str:
        counts = [_number(getattr(self, what), what) for what in ("records", "sources", "rows", "files")]
        return ", ".join([*counts, ByteSize(self.bytes).human_readable(separator=" ")])


@dataclass(frozen=True)
class Verdict:
    """The result of a check.

    Attributes:
        next: counts of the new results that have been begun beside these; None if there are none.
        problems: in the order of their kinds and paths.
        notes: what to know, though nothing is wrong.
    """

    output: Output
    counts: Counts
    next: Counts | None
    problems: Sequence[Problem]
    notes: Sequence[str]

    @property
    def exit_code(self) -> ExitCode:
        """Return 0 for results that are sound, else 1."""
        return ExitCode.FAILED if self.problems else ExitCode.DONE

    def to_json(self) -> dict[str, Any]:
        """Return all of it."""
        head = {"schema_version": SCHEMA_VERSION, "output": str(self.output), "sound": not self.problems}
        return {**head, **{name: value for name, value in asdict(self).items() if name != "output"}}

    def text(self) -> str:
        """Return all of it for people; of many problems of one kind the first ones."""
        groups: dict[tuple[Kind, str], list[Problem]] = {}
        for problem in self.problems:
            groups.setdefault((problem.kind, problem.remedy), []).append(problem)
        lines = []
        for (kind, remedy), members in groups.items():
            lines.append(f"PROBLEM  {_HEADINGS[kind]}: {len(members):,}")
            lines += [f"  {problem.path}: {problem.text}" for problem in members[:SHOWN]]
            if len(members) > SHOWN:
                lines.append(f"  and {len(members) - SHOWN:,} more; --json has all of them")
            lines += [f"  what to do: {remedy}", ""]
        lines += [f"note: {note}" for note in self.notes]
        lines.append(f"checked    {self.counts}")
        if self.next:
            lines.append(f"also       {self.next}, of new results that are not in place yet")
        wrong = _number(len(self.problems), "problems")
        lines.append(f"{wrong if self.problems else 'no problems'}: {self.output}")
        return "\n".join(lines)


def _number(count: int, what: str) -> str:
    return f"{count:,} {what[:-1] if count == 1 else what}"
