"""A source that could not be processed, or not whole."""

from __future__ import annotations

from typing import NamedTuple

RETRYABLE = frozenset(["timeout", "worker_died", "unreadable", "no_memory"])
"""Classes of error that may say more about the machine than about the source: later runs try again."""


class Failure(NamedTuple):
    """A source that could not be processed.

    In which stage (reader, preprocess, infer or writer), a short, stable class of error, and why, in words.
    It is transient if it may have been the machine's fault, for all that this run knows.
    """

    key: str
    stage: str
    error: str
    message: str
    transient: bool = False
