"""The program of every child process, which `process.child` starts: MODULE CONNECTION DESCRIPTOR... PARENT.

The module has a function `serve(connection, *descriptors)`, which returns, or raises EOFError or
ConnectionError because the parent has closed the connection or is gone. Nothing else is imported here: a
child starts as fast as what it needs itself.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import NoReturn

_PR_SET_PDEATHSIG = 1


def main() -> NoReturn:
    """Serve the parent, whose process id is the last argument; the descriptors are inherited from it."""
    module, *descriptors, parent = sys.argv[1:]
    _die_with(int(parent))
    connection, *others = map(int, descriptors)
    for descriptor in (connection, *others):
        os.set_inheritable(descriptor, False)  # or what a library starts could hold them when this has ended
    with suppress(EOFError, ConnectionError):
        importlib.import_module(module).serve(Connection(connection), *others)
    os._exit(0)


def _die_with(parent: int) -> None:
    """Have Linux kill this process when its parent dies, even while a decoder hangs (prctl(2)).

    Elsewhere it ends at its next message: the connection is closed.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)  # it has died before Linux was asked
