"""Has labels drawn by a process of its own, which may crash or hang on a hostile file."""

from __future__ import annotations

import queue
import threading
from math import inf

from resnet_pipe.errors import RunError, SourceError
from resnet_pipe.process.child import Child, ChildError, SilentError
from resnet_pipe.writer.annotated.drawing_messages import Answer, DrawingSetup, Message, Request, Step

_MODULE = "resnet_pipe.writer.annotated.drawing_process"
_START_S = 60.0
"""The longest that a process may take to start."""


class Annotator:
    """Has the files of one source after the other made, while the caller goes on.

    A source whose process gives no response for `timeout_s` is given up, and the process replaced.
    """

    def __init__(self, setup: DrawingSetup, timeout_s: float) -> None:
        self._setup = setup
        self._timeout_s = timeout_s
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._answers: dict[str, Answer] = {}
        self._problem: Exception | None = None
        self._process: Child | None = None
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
        """Wait until all is done; return what has become of each source, by its key. Raises like `put`."""
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
                self._process = Child(_MODULE)
            self._process.send(self._setup)
            try:
                self._process.receive(_START_S)
            except ChildError as error:
                text = f"cannot draw labels: the process that draws labels {error}"
                remedy = "check its messages above, the memory limits and the installation"
                raise RunError(text, remedy) from None
        try:
            return _drawn(self._process, request, self._timeout_s)
        except ChildError as error:
            self._process.end()
            self._process = None
            name = "timeout" if isinstance(error, SilentError) else "worker_died"
            return Answer(failure=SourceError("writer", name, f"the process that draws labels {error}"))


def _drawn(process: Child, request: Request, timeout_s: float) -> Answer:
    """Have the files of a source made. After a `ChildError` the process cannot be asked again."""
    process.send(request)
    message: Message = Step.ALIVE
    while isinstance(message, Step):
        message = process.receive(inf if message is Step.CLOSING else timeout_s)
    if isinstance(message, OSError):
        raise message
    return message
