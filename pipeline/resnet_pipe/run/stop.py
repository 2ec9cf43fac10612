"""Asked to stop: the first signal ends the run after the chunk in flight, the second at once."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from queue import Empty, Queue
from threading import Event, Thread

from resnet_pipe.errors import ExitCode, StoppedError
from resnet_pipe.reader.source import Source

_GROUP, _GROUPS = 256, 4
"""So many sources are handed over at a time, and so many times ahead."""
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

    def during(self, sources: Iterable[Source]) -> Iterator[Source]:
        """Yield the sources, and `check` meanwhile: listing a million takes a while, and a server may hang.

        A thread lists them, for which nobody waits.
        """
        groups: Queue[list[Source] | BaseException] = Queue(_GROUPS)
        ended = Event()

        def put_groups() -> None:
            rest = iter(sources)
            try:
                while not ended.is_set():
                    group = list(islice(rest, _GROUP))
                    groups.put(group)
                    if not group:
                        return
            except BaseException as error:  # whatever it is, it is raised below
                groups.put(error)

        Thread(target=put_groups, name="list sources", daemon=True).start()
        try:
            while True:
                self.check("listing the sources")
                try:
                    group = groups.get(timeout=_BEAT_S)
                except Empty:
                    continue
                if isinstance(group, BaseException):
                    raise group
                if not group:
                    return
                yield from group
        finally:
            ended.set()
            with suppress(Empty):  # which the thread may be waiting for
                while True:
                    groups.get_nowait()

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
