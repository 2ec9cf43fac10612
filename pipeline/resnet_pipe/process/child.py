"""Child processes, for code that may crash or hang: none outlives its parent or receives its signals."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_PR_SET_PDEATHSIG = 1
_PROGRAM = """\
import sys
if not sys.path[0]:
    del sys.path[0]
from runpy import run_module
run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""
"""What `python -m` does, without the current directory on the module path.

Python puts it there first, as an empty string; before this is taken away, nothing is imported. There is the
option -P for that only from Python 3.11 on, and -I would hide the user's own modules as well.
"""


def command(module: str, *arguments: object) -> list[str]:
    """Return the command for `python -m MODULE ARGUMENT...` that ignores modules in the current directory.

    To be used with `environment()`.
    """
    return [sys.executable, "-c", _PROGRAM, module, *map(str, arguments)]


def environment() -> dict[str, str]:
    """Return our environment for a Python that must not take modules from the current directory.

    An empty entry in PYTHONPATH, such as a trailing colon makes, means that directory to Python, but hardly
    ever to its author. Other entries stay, as do virtual environments and editable installations.
    """
    entries = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    # The last is for a Python that a library starts in turn.
    changes = {"PYTHONPATH": os.pathsep.join(entries), "PYTHONSAFEPATH": "1"}
    return {**os.environ, **changes}


def start(module: str, *descriptors: int) -> subprocess.Popen[bytes]:
    """Start `MODULE DESCRIPTOR... PARENT`: the descriptors are inherited, PARENT is our process id.

    On Linux, the child dies when the *thread* that starts it ends, so use one that keeps running.

    Args:
        module: whose main function calls `die_with`.
        descriptors: of files, pipes or memory.
    """
    with _signals_blocked():
        return subprocess.Popen(
            command(module, *descriptors, os.getpid()),
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            stdout=2,
            env=environment(),
        )


def die_with(parent: int) -> None:
    """In the child: have Linux kill this process when its parent dies, even while a decoder hangs (prctl(2)).

    Elsewhere it ends at its next message: the connection is closed.

    Args:
        parent: process id.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)  # it has died before Linux was asked


def ending(status: int) -> str:
    """Describe how a process ended, from Popen's status."""
    if status >= 0:
        return f"exited with status {status}"
    name = signal.Signals(-status).name
    return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block the signals that stop a run in its children: the run alone handles them.

    The mask is inherited across exec, so Ctrl-C never reaches a child.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
