"""Asked to stop: the first signal ends the run after the chunk in flight, the second at once."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from queue import Empty, Queue
from threading import Event, Thread
from typing import TypeVar

from resnet_pipe.errors import ExitCode, StoppedError
from resnet_pipe.reader.source import Source

T = TypeVar("T")

_BEAT_S = 0.1
"""How often to look whether somebody has asked to stop."""


class Stop:
    """Whether, and how urgently, the run is to end.

    Attributes:
        signal: the first signal that came; None while nobody asked.
        at: when it came, time.monotonic().
        now: a second signal came: end at once.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.at = 0.0
        self.now = False

    def note(self, number: signal.Signals) -> None:
        """Count a signal."""
        if self.signal is None:
            self.signal, self.at = number, time.monotonic()
        else:
            self.now = True

    def during(self, sources: Iterable[Source], take: Callable[[Iterator[Source]], T]) -> T:
        """Return what `take` makes of the sources, and `check` meanwhile: a server that lists them may hang.

        A thread does both, for which nobody waits. (To hand a million sources over from one thread to another
        takes a third as long as to list them.)
        """
        taken: Queue[tuple[T] | BaseException] = Queue()
        ended = Event()

        def until_ended() -> Iterator[Source]:
            for source in sources:
                if ended.is_set():
                    return
                yield source

        def put() -> None:
            try:
                taken.put((take(until_ended()),))
            except BaseException as error:  # whatever it is, it is raised below
                taken.put(error)

        Thread(target=put, name="list sources", daemon=True).start()
        result = None
        try:
            while result is None:
                with suppress(Empty):
                    result = taken.get(timeout=_BEAT_S)
                self.check("listing the sources")
            if isinstance(result, BaseException):
                raise result
            return result[0]
        finally:
            ended.set()

    def check(self, doing: str) -> None:
        """Let what is `doing` something go on.

        Raises:
            StoppedError: somebody has asked to stop.
        """
        if self.signal is not None:
            raise StoppedError(f"{self.signal.name}: stopped while {doing}", self.exit_code)

    @property
    def exit_code(self) -> ExitCode:
        """Return 130 or 143 for the first signal."""
        return ExitCode.SIGINT if self.signal == signal.SIGINT else ExitCode.SIGTERM
