"""Catch what libraries write to standard error, if they have no other way to report damage."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_STDERR = 2


@contextmanager
def standard_error() -> Iterator[Callable[[], str]]:
    """Provide a function that returns the first line written to standard error in the block so far, or "".

    Meanwhile, the standard error of the whole process is redirected: decode in one thread only. It goes into
    a pipe, which needs no disk space. What does not fit into the pipe is dropped.
    """
    receiver, sender = os.pipe()
    before = os.dup(_STDERR)
    try:
        for end in (receiver, sender):
            os.set_blocking(end, False)
        os.dup2(sender, _STDERR)
        yield lambda: _read(receiver).partition("\n")[0]
    finally:
        os.dup2(before, _STDERR)
        for descriptor in (receiver, sender, before):
            os.close(descriptor)


def _read(receiver: int) -> str:
    try:
        return os.read(receiver, 500).decode(errors="replace")
    except BlockingIOError:
        return ""
