"""A worker's first word. It needs no library: it is said where one cannot be imported, too."""

from __future__ import annotations

from typing import NamedTuple


class WorkerReady(NamedTuple):
    """A worker can begin: all that it needs is imported."""


class WorkerBroken(NamedTuple):
    """A worker cannot work at all, regardless of the source.

    Attributes:
        problem: in words.
    """

    problem: str
