"""Child processes, for code that may crash or hang: started, talked to, and ended whatever they do."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path
from typing import Any

from resnet_pipe.process.patience import LOOK_S, Waiting

DYING_S = 10.0
"""The longest to wait for a killed process: a driver may keep it in the kernel, where no signal arrives."""
_STANDARD_ERROR = 2
_PROGRAM = """\
import sys
if not sys.path[0]:
    del sys.path[0]
root = sys.argv.pop(1)
if root not in sys.path:
    sys.path.insert(0, root)
from resnet_pipe.cli.child import main
main()
"""
"""What `python -m resnet_pipe.cli.child` does, without the current directory on the module path.

Python puts it there first, as an empty string; before this is taken away, nothing is imported. There is the
option -P for that only from Python 3.11 on, and -I would hide the user's own modules as well. The package is
the one that runs here, wherever this process has found it.
"""
_ROOT = str(Path(__file__).parents[2])
"""The directory that the package is in."""


class ChildError(Exception):
    """A child process gave no message; the text goes on from "its process"."""


class EndedError(ChildError):
    """It has ended; for the status, see `Child.status`."""

    def __init__(self, status: int) -> None:
        super().__init__(ending(status))
        self.status = status


class SilentError(ChildError):
    """It has hung for longer than it may."""

    def __init__(self, patience_s: float) -> None:
        super().__init__(f"did not respond for {patience_s:g} s")


class Child:
    """A child process as its parent sees it.

    It runs `serve(connection, *descriptors)` of a module, see `cli.child`, and inherits the descriptors:
    files, pipes, memory. It prints to the descriptor `output`, its parent's standard error if that is not
    given. It does not outlive its parent, and gets none of the signals that stop that. On Linux, it also dies
    when the *thread* that starts it ends, so use one that keeps running. With a process group of its own, all
    of that ends with it. Several threads may call `send` and `kill`; the rest is for one.
    """

    def __init__(
        self, module: str, *descriptors: int, output: int = _STANDARD_ERROR, own_group: bool = False
    ) -> None:
        self._own_group = own_group
        self._connection, theirs = multiprocessing.Pipe()
        inherited = (theirs.fileno(), *descriptors)
        arguments = map(str, (*inherited, os.getpid()))
        with theirs, _signals_blocked():
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, _ROOT, module, *arguments],
                pass_fds=inherited,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(),
                start_new_session=own_group,
            )
        self.pid = self._process.pid
        self._messages: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        # Sent by a thread of its own. A child that hangs reads nothing, and one that waits for us to read its
        # message does not either: after a message larger than the socket's buffer we would wait for ever.
        self._sender = threading.Thread(target=self._deliver, name="send queue", daemon=True)
        self._sender.start()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def fileno(self) -> int:
        """Return the descriptor that is readable when `receive` would not wait."""
        return self._connection.fileno()

    def send(self, message: object) -> None:
        """Send a message soon, as it is now, without waiting for anything. A dead child gets nothing."""
        self._messages.put(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))

    def _deliver(self) -> None:
        with suppress(OSError):  # it is dead; whoever listens to it finds out
            while (message := self._messages.get()) is not None:
                self._connection.send_bytes(message)

    def receive(self, patience_s: float = inf, look: Callable[[], object] | None = None) -> Any:  # noqa: ANN401
        """Return the next message from the child.

        It may be silent for `patience_s`, as `Waiting` counts. In the meantime `look` is called several times
        a second; what it raises ends the waiting.

        Raises:
            EndedError: there is none, because the child has ended.
            SilentError: it hangs. It is not ended because of that.
        """
        waiting = Waiting(self.pid)
        while (look is not None or patience_s < inf) and not self._connection.poll(LOOK_S):
            if look is not None:
                look()
            if waiting.look(None) > patience_s:
                raise SilentError(patience_s)
        try:
            return self._connection.recv()
        except (EOFError, OSError):  # at the end of a message, or in the middle of one
            raise EndedError(self.status()) from None

    def status(self) -> int:
        """Wait until the child has ended; return its exit status, or the negative number of a signal."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(DYING_S)
        self.kill()
        return self._process.wait()

    def kill(self) -> None:
        """End the child, whatever it is doing."""
        self._process.kill()
        if self._own_group:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def end(self) -> None:
        """End the child, whatever it is doing, and give back what it held here. May be called again."""
        self.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(DYING_S)
            self._messages.put(None)
            self._sender.join()  # the child is dead, so this does not wait for it
            self._connection.close()


def ending(status: int) -> str:
    """Describe how a process ended, from Popen's status."""
    if status >= 0:
        return f"exited with status {status}"
    name = signal.Signals(-status).name
    return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def _environment() -> dict[str, str]:
    """Return our environment for a Python that must not take modules from the current directory.

    An empty entry in PYTHONPATH, such as a trailing colon makes, means that directory to Python, but hardly
    ever to its author. Other entries stay, as do virtual environments and editable installations.
    """
    entries = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    # The last is for a Python that a library starts in turn.
    changes = {"PYTHONPATH": os.pathsep.join(entries), "PYTHONSAFEPATH": "1"}
    return {**os.environ, **changes}


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
