"""The terminal: what people see there, and how they stop a run.

In output, control characters are shown, never obeyed, and a closed stream does no harm.
"""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

from resnet_pipe.errors import RunError
from resnet_pipe.process.descriptors import occupy_standard_ones

if TYPE_CHECKING:
    from resnet_pipe.run.stop import Stop

_NOT_SHOWN = re.compile("[^\n\t\x20-\x7e\xa0-\ud7ff\ue000-\U0010ffff]")
"""The control characters of ASCII and of Latin-1, and bytes of a file name that are not UTF-8 (PEP 383)."""


def show(text: str) -> None:
    """Print requested output to standard output. The reader may close the pipe early.

    RunError if it cannot be written, such as to a full disk.
    """
    try:
        print(_printable(text), flush=True)  # noqa: T201
    except BrokenPipeError:
        pass
    except OSError as error:
        raise RunError(
            f"cannot print the result: {error.strerror}", "of a run, run.json in its folder has it"
        ) from None


def say(text: str) -> None:
    """Print a progress line to standard error. A terminal that is gone does not end a run."""
    with suppress(OSError):
        print(_printable(text), file=sys.stderr, flush=True)  # noqa: T201


def _printable(text: str) -> str:
    r"""Return a text in which every control character but newline and tab is written `\xNN`.

    A file may be called ESC[2J, and paths end up in messages. Bytes that are not UTF-8 look as in keys.
    """
    return _NOT_SHOWN.sub(_escape, text)


def _escape(character: re.Match[str]) -> str:
    code = ord(character[0])
    return f"\\x{code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else code:02x}"


def prepare_streams() -> None:
    """Make the standard streams safe to write to, whatever state the caller and the locale left them in."""
    occupy_standard_ones()
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", closefd=False))  # noqa: SIM115 - stays open
        getattr(sys, name).reconfigure(errors="backslashreplace")


@contextmanager
def on_signals() -> Iterator[Stop]:
    """Turn SIGINT and SIGTERM into a `Stop` while the block runs."""
    from resnet_pipe.run.stop import Stop

    stop = Stop()

    def handle(number: int, _frame: FrameType | None) -> None:
        stop.note(signal.Signals(number))  # and nothing else: it may interrupt anything

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
