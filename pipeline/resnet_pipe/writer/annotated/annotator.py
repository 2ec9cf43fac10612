"""Has labels drawn by a process of its own, which may crash or hang on a hostile file."""

from __future__ import annotations

import multiprocessing
import queue
import threading
from contextlib import suppress

from resnet_pipe.errors import RunError, SourceError
from resnet_pipe.process import child
from resnet_pipe.process.patience import LOOK_S, Waiting
from resnet_pipe.writer.annotated.drawing_messages import Answer, Message, Request, Setup, Step

_MODULE = "resnet_pipe.writer.annotated.drawing_process"
_START_S = 60.0
"""The longest that a process may take to start."""


class Annotator:
    """Has the files of one source after the other made, while the caller goes on.

    Args:
        setup: what is the same for all of them.
        timeout_s: a source is given up, and the process replaced, if that gives no response for longer.
    """

    def __init__(self, setup: Setup, timeout_s: float) -> None:
        self._setup = setup
        self._timeout_s = timeout_s
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._answers: dict[str, Answer] = {}
        self._problem: Exception | None = None
        self._process: _Process | None = None
        self._ends = False
        self._lock = threading.Lock()
        """Held while a process is started, and while none must be."""
        # It starts the processes, and they die with the thread that did: so it is the one that stays.
        self._thread = threading.Thread(target=self._serve, name="annotator", daemon=True)
        self._thread.start()

    def put(self, request: Request) -> None:
        """Have the files of a source made.

        Raises:
            OSError: those of an earlier source could not be written.
            RunError: the process did not start.
        """
        if self._problem is not None:
            raise self._problem
        self._requests.put(request)

    def finish(self) -> dict[str, Answer]:
        """Wait until all is done; return what has become of each source, by its key.

        Raises:
            OSError: as `put`.
            RunError: as `put`.
        """
        self._requests.put(None)
        self._thread.join()
        if self._problem is not None:
            raise self._problem
        return self._answers

    def kill(self) -> None:
        """Give up what is not done."""
        with self._lock:
            self._ends = True
            if self._process is not None:
                self._process.kill()
        self._requests.put(None)
        self._thread.join()

    def _serve(self) -> None:
        try:
            while (request := self._requests.get()) is not None and not self._ends:
                self._answers[request.key] = self._ask(request)
        except Exception as error:
            self._problem = error
        finally:
            if self._process is not None:
                self._process.end()

    def _ask(self, request: Request) -> Answer:
        if self._process is None:
            with self._lock:
                if self._ends:
                    return Answer()
                self._process = _Process()
            self._process.begin(self._setup)
        try:
            return self._process.ask(request, self._timeout_s)
        except SourceError as error:
            self._process.end()
            self._process = None
            return Answer(failure=error)


class _Process:
    """A process that draws labels."""

    def __init__(self) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        self._process = child.start(_MODULE, theirs.fileno())
        theirs.close()

    def begin(self, setup: Setup) -> None:
        """Wait until it has started.

        Raises:
            RunError: it has not.
        """
        try:
            self._tell(setup)
            self._hear(_START_S)
        except SourceError as error:
            remedy = "check its messages above, the memory limits and the installation"
            raise RunError(f"cannot draw labels: {error.message}", remedy) from None

    def ask(self, request: Request, timeout_s: float) -> Answer:
        """Have the files of a source made.

        Raises:
            SourceError: `worker_died` or `timeout`. The process cannot be asked again.
            OSError: a file cannot be written.
        """
        self._tell(request)
        message: Message = Step.ALIVE
        while isinstance(message, Step):
            message = self._hear(None if message is Step.CLOSING else timeout_s)
        if isinstance(message, OSError):
            raise message
        return message

    def kill(self) -> None:
        """End it, whatever it is doing. The only method for other threads."""
        self._process.kill()

    def end(self) -> None:
        """End it, and release what it held."""
        self._process.kill()
        self._process.wait()
        self._connection.close()

    def _tell(self, message: Setup | Request) -> None:
        with suppress(OSError):  # it is dead; whoever listens finds out
            self._connection.send(message)

    def _hear(self, patience_s: float | None) -> Message:
        waiting = Waiting(self._process.pid)
        try:
            while not self._connection.poll(LOOK_S):
                if patience_s is not None and waiting.look("silence") > patience_s:
                    text = f"the process that draws labels did not respond for {patience_s:g} s"
                    raise SourceError("writer", "timeout", text)
            message: Message = self._connection.recv()
            return message
        except (EOFError, OSError):  # at the end of a message, or in the middle of one
            text = f"the process that draws labels {child.ending(self._process.wait())}"
            raise SourceError("writer", "worker_died", text) from None
