"""The command line run inside this process: a test pays for what a command does, not for its imports."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn
from unittest import mock

from resnet_pipe.cli.main import main

PATIENCE_S = 60.0
"""How long to wait for what must happen; only a test that fails waits this long."""


@dataclass(frozen=True)
class Result:
    """What a finished process leaves."""

    code: int
    stdout: str
    stderr: str

    def expect(self, code: int) -> Result:
        """Check the exit code, and that no user ever sees a traceback."""
        assert self.code == code, f"exit code {self.code}, expected {code}\n{self.stdout}\n{self.stderr}"
        assert "Traceback" not in self.stderr, self.stderr
        return self


def command(*arguments: str) -> Result:
    """Run `resnet-pipe` with these arguments to its end, and check that no process of it is left.

    The processes that it starts are real ones. For faults, signals and another environment, start it as a
    process of its own: `JobFolder.start`.
    """
    before = children()
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(sys, "argv", ["resnet-pipe", *arguments]))
        stack.enter_context(mock.patch.dict(os.environ))
        out, err = (stack.enter_context(_captured(name)) for name in ("stdout", "stderr"))
        stack.enter_context(_patience())
        code = _exit_code()
        sys.stdout.flush()
        sys.stderr.flush()
        result = Result(code, _text(out), _text(err))
    assert children() <= before, "a process of the run is left"
    return result


def children() -> set[int]:
    """Return the processes that this one has started and that have not ended, or nobody has asked how."""
    found = set()
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdecimal():
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                if int(parent) == os.getpid():
                    found.add(int(entry.name))
    return found


def _exit_code() -> int:
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)


@contextmanager
def _captured(name: str) -> Iterator[IO[bytes]]:
    """Send a standard stream, and what libraries and other processes write there, to a file."""
    number = {"stdout": 1, "stderr": 2}[name]
    before, kept = getattr(sys, name), os.dup(number)
    before.flush()
    with tempfile.TemporaryFile() as file, open(number, "w", closefd=False) as stream:
        os.dup2(file.fileno(), number)
        setattr(sys, name, stream)
        try:
            yield file
        finally:
            setattr(sys, name, before)
            os.dup2(kept, number)
            os.close(kept)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


@contextmanager
def _patience() -> Iterator[None]:
    """End a command that does not end by itself."""

    def give_up(_number: int, _frame: FrameType | None) -> NoReturn:
        raise AssertionError("the command did not end")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
