"""SIGINT and SIGTERM as requests to stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from resnet_pipe.run.stop import Stop


@contextmanager
def on_signals() -> Iterator[Stop]:
    """Turn SIGINT and SIGTERM into a `Stop` while the block runs."""
    stop = Stop()

    def handle(number: int, _frame: FrameType | None) -> None:
        stop.note(signal.Signals(number))  # and nothing else: it may interrupt anything

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
