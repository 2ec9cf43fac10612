"""Hear libtiff, which reports some damage on standard error alone and goes on with made-up pixels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_STDERR = 2


@contextmanager
def strict() -> Iterator[None]:
    """Make an exception of what libtiff says while the block decodes a TIFF file.

    The standard error of the whole process goes elsewhere meanwhile: decode in one thread only.

    Raises:
        ValueError: with the error of the block, if there is one, and the first line that libtiff wrote.
    """
    with _standard_error() as first_line:
        try:
            yield
        except (OSError, SyntaxError, ValueError) as error:
            line = first_line()
            raise ValueError(f"{error}: {line}" if line else str(error)) from error
        if line := first_line():
            raise ValueError(line)


@contextmanager
def _standard_error() -> Iterator[Callable[[], str]]:
    """Give a function that returns the first line written to standard error since the block began.

    A pipe, because that needs no place on a disk. What does not fit into it is dropped.
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
