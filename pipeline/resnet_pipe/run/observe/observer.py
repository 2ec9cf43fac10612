"""What observes a run never decides about it: its first error is a warning, and it is asked no more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from types import TracebackType
from typing import NamedTuple, ParamSpec, TypeVar

from resnet_pipe.errors import ResnetPipeError
from resnet_pipe.preprocess.network_input import Pixels
from resnet_pipe.run.observe.events import Events
from resnet_pipe.run.workers.messages import Outputs, ReadyBatch

P = ParamSpec("P")
T = TypeVar("T")


class Guard:
    """Calls what observes a run, and tells the events what fails. Used from several threads."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._lock = threading.Lock()
        self._warned: set[str] = set()
        self._broken: dict[str, Exception] = {}

    def call(self, what: str, function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T | None:
        """Call a function; None if it fails, which is a warning, or if its like has failed before."""
        if self.is_broken(what):
            return None
        try:
            return function(*arguments, **options)
        except Exception as error:
            self._broken[what] = error.with_traceback(None)  # it would hold what the frames hold
            self.warn(what, f"no {what}: {_reason(error)}")
            return None

    def is_broken(self, what: str) -> bool:
        """Tell whether something has failed."""
        return what in self._broken

    def warn(self, what: str, text: str) -> None:
        """Tell the user and the log that something is missing; of each thing only once."""
        with self._lock:
            if what in self._warned:
                return
            self._warned.add(what)
        self._events.tell("warning", text=" ".join(text.split()))

    def enter(self, stack: ExitStack, what: str, manager: AbstractContextManager[T]) -> T | None:
        """Enter a context until the stack is left; None if that fails. It decides nothing about the block.

        If something of the same name has failed meanwhile, the context is left with its error.
        """

        def leave(
            kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None:
            failed = self._broken.get(what)
            if failed is None:
                self.call(what, manager.__exit__, kind, error, trace)
            else:
                with suppress(Exception):
                    manager.__exit__(type(failed), failed, None)

        given = self.call(what, manager.__enter__)
        if not self.is_broken(what):
            stack.push(leave)
        return given


class Forward(NamedTuple):
    """A forward pass on a batch of items: what it gave, its lane, from when to when."""

    ready: ReadyBatch
    batch: Pixels
    outputs: Outputs
    lane: int
    start: float
    end: float


class Observer:
    """Is told what every batch went through, and notes some of it.

    Times are of `time.perf_counter`, which all processes share.
    """

    def ready(self, ready: ReadyBatch) -> None:
        """A worker has posted a message."""

    def inferred(self, done: Forward) -> None:
        """A lane has executed a batch. From its own thread."""

    def written(self, ready: ReadyBatch, start: float, end: float) -> None:
        """The rows of a message have been written. From the writer's thread."""


class Guarded(Observer):
    """The observers of a run, called by a guard."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._observers: dict[str, Observer] = {}

    def add(self, what: str, observer: Observer) -> None:
        """Have an observer told of what comes from now on; `what` it makes, for the warning."""
        self._observers[what] = observer

    def ready(self, ready: ReadyBatch) -> None:
        """A worker has posted a message."""
        for what, observer in self._observers.items():
            self._guard.call(what, observer.ready, ready)

    def inferred(self, done: Forward) -> None:
        """A lane has executed a batch."""
        for what, observer in self._observers.items():
            self._guard.call(what, observer.inferred, done)

    def written(self, ready: ReadyBatch, start: float, end: float) -> None:
        """The rows of a message have been written."""
        for what, observer in self._observers.items():
            self._guard.call(what, observer.written, ready, start, end)


def _reason(error: Exception) -> str:
    """Return why something failed, in words."""
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename2 or error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}"
    return error.problem if isinstance(error, ResnetPipeError) else f"{type(error).__name__}: {error}"
