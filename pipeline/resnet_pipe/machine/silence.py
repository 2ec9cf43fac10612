"""Libraries that talk too much: their messages are kept from the user, their errors come as exceptions."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silenced(logger: str | None = None) -> Iterator[None]:
    """Let the logger of that name, or the root, pass only errors while the block runs."""
    talking = logging.getLogger(logger)
    before = talking.level
    talking.setLevel(logging.ERROR)
    try:
        yield
    finally:
        talking.setLevel(before)
