"""Asked to stop: the first signal ends the run after the chunk in flight, the second at once."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Iterator

from resnet_pipe.errors import ExitCode, StoppedError
from resnet_pipe.reader.source import Source


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
        """Yield the sources, and `check` before each: listing a million of them takes a while."""
        for source in sources:
            self.check("listing the sources")
            yield source

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
