"""Child processes, for code that may crash or hang: none outlives its parent, or sees its signals."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_PR_SET_PDEATHSIG = 1


def start(module: str, *descriptors: int) -> subprocess.Popen[bytes]:
    """Start `python -m MODULE DESCRIPTOR... PARENT`: the descriptors are inherited, PARENT is our process id.

    On Linux, the child dies when the *thread* that starts it ends, so let that be one that stays.

    Args:
        module: whose main function calls `die_with`.
        descriptors: of files, pipes or memory.
    """
    command = [sys.executable, "-m", module, *map(str, (*descriptors, os.getpid()))]
    with _signals_blocked():
        return subprocess.Popen(command, pass_fds=descriptors, stdin=subprocess.DEVNULL, stdout=2)


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
    """Return in words how a process ended, from the status that Popen gives."""
    if status >= 0:
        return f"exited with status {status}"
    name = signal.Signals(-status).name
    return f"was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Keep the signals that stop a run from the children: the run alone decides about them.

    The mask is inherited across exec, so there is no instant at which Ctrl-C reaches a child.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
