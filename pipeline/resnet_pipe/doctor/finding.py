"""What the doctor says about one thing, and what a check is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["OK", "WARN", "FAIL"]
"""Fine; works, but not as well as it could; some runs will fail."""


@dataclass(frozen=True)
class Finding:
    """What a check found, on one line, and what to do: a command where there is one, nothing for OK."""

    check: str
    level: Level
    text: str
    remedy: str = ""


Check = Callable[[], Iterable[Finding]]
"""Looks at one part of the environment. It raises nothing: what it cannot find out is a finding."""
