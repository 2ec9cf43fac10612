"""What the doctor says about one thing, and what a check is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["OK", "WARN", "FAIL"]
"""Fine; works, but not as well as it could; some runs will fail."""


@dataclass(frozen=True)
class Finding:
    """A line of the doctor's.

    Attributes:
        check: name of the check that found it, such as `cuda`; errors of a run name it too.
        level: how bad it is.
        text: what was found, for people, on one line.
        remedy: what to do, a command where there is one; empty for OK.
    """

    check: str
    level: Level
    text: str
    remedy: str = ""


Check = Callable[[], Iterable[Finding]]
"""Looks at one part of the environment. It raises nothing: what it cannot find out is a finding."""
