"""What a check finds, all checks in order, and their outcome: findings, seconds, exit code."""

from __future__ import annotations

import importlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from resnet_pipe.errors import CheckName, ExitCode

SCHEMA_VERSION = 1
"""Of the JSON; it changes when a key changes its meaning or goes."""
CHECKS: dict[CheckName, str] = {
    "packages": "resnet_pipe.doctor.packages",
    "cv2": "resnet_pipe.doctor.cv2_library",
    "cuda": "resnet_pipe.doctor.cuda",
    "engines": "resnet_pipe.doctor.forward",
    "decoders": "resnet_pipe.doctor.decoders",
    "limits": "resnet_pipe.doctor.limits",
    "models": "resnet_pipe.doctor.models",
}
"""name -> module. Its `check()` looks at one part of the environment, and gives findings.

It raises nothing: what it cannot find out is a finding.
"""
Level = Literal["OK", "WARN", "FAIL"]
"""Fine; works, but not as well as it could; some runs will fail."""
_CLOSING = {
    "FAIL": "Some runs will fail here; follow the advice above, then run the doctor again.",
    "WARN": "Runs will work here, but not as well as they could; see the advice above.",
    "OK": "All checks passed.",
}
"""By the worst level."""


@dataclass(frozen=True)
class Finding:
    """What a check found, on one line, and what to do: a command where there is one, nothing for OK."""

    check: str
    level: Level
    text: str
    remedy: str = ""

    def describe(self) -> str:
        """Return it for a terminal: a line, and one below it with the remedy."""
        line = f"{self.level:<5} {self.check:<10} {_one_line(self.text)}"
        return f"{line}\n{'':17}what to do: {_one_line(self.remedy)}" if self.remedy else line


@dataclass(frozen=True)
class Examination:
    """What the doctor found, in the order of the checks."""

    findings: tuple[Finding, ...]
    seconds: float

    @property
    def counts(self) -> dict[str, int]:
        """How many findings there are of each level, the worst first."""
        counted = Counter(finding.level for finding in self.findings)
        return {level: counted[level] for level in ("FAIL", "WARN", "OK")}

    @property
    def exit_code(self) -> ExitCode:
        """1 if anything FAILs, else 0."""
        return ExitCode.FAILED if self.counts["FAIL"] else ExitCode.DONE

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "schema_version": SCHEMA_VERSION,
            "seconds": round(self.seconds, 2),
            "counts": self.counts,
            "findings": [asdict(finding) for finding in self.findings],
        }

    def closing(self) -> str:
        """Return the line below the findings."""
        counts = ", ".join(f"{count} {level}" for level, count in self.counts.items())
        worst = next((level for level, count in self.counts.items() if count), "OK")
        return f"{counts} in {self.seconds:.1f} s. {_CLOSING[worst]}"


def examine(names: Sequence[CheckName], tell: Callable[[Finding], None]) -> Examination:
    """Run the checks named, or all; `tell` each finding as soon as it is there: some checks take seconds."""
    started = time.perf_counter()
    findings = []
    for name, module in CHECKS.items():
        if not names or name in names:
            for finding in _findings(name, module):
                tell(finding)
                findings.append(finding)
    return Examination(tuple(findings), time.perf_counter() - started)


def _findings(name: CheckName, module: str) -> Iterable[Finding]:
    """Yield the findings of a check. An exception becomes a finding too: the other checks continue."""
    try:
        yield from importlib.import_module(module).check()
    except Exception as error:
        text = f"the check itself failed: {type(error).__name__}: {error}"
        remedy = "report this as a bug, with the output of resnet-pipe doctor --json"
        yield Finding(name, "FAIL", text, remedy)


def _one_line(text: str) -> str:
    return " ".join(text.split())
