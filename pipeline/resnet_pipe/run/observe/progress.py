"""How far the run is: a bar on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, NoReturn, Protocol

from resnet_pipe.cli.terminal import say

if TYPE_CHECKING:
    from tqdm import tqdm

LINE_EVERY_S = 10.0


class Progress(Protocol):
    """Shows how far the run is."""

    def update(self, sources: int, items: int, failures: int) -> None:
        """Show the totals so far; called several times a second."""

    def say(self, text: str) -> None:
        """Print a line without breaking the display."""

    def close(self) -> None:
        """End the display."""


class Bar:
    """A tqdm bar on standard error over the sources, which have a unit."""

    def __init__(self, total: int, unit: str) -> None:
        from tqdm import tqdm

        counts, times = "{n_fmt}/{total_fmt}", "{elapsed}<{remaining}, {rate_fmt}{postfix}"
        self._bar: tqdm[NoReturn] = tqdm(
            total=total,
            unit=unit,
            file=sys.stderr,
            dynamic_ncols=True,
            smoothing=0.1,
            bar_format=f"{{percentage:3.0f}}%|{{bar}}| {counts} [{times}]",
        )

    def update(self, sources: int, items: int, failures: int) -> None:
        """Show the totals so far."""
        if failures:
            self._bar.set_postfix_str(f"{failures} failed", refresh=False)
        self._bar.update(sources - self._bar.n)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.clear()
        say(text)
        self._bar.refresh()

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


class Lines:
    """A line on standard error every ten seconds, for logs."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._started = self._last = time.monotonic()

    def update(self, sources: int, items: int, failures: int) -> None:
        """Print the totals so far if ten seconds have passed since the last time."""
        now = time.monotonic()
        if now - self._last < LINE_EVERY_S:
            return
        self._last = now
        rate = items / (now - self._started)
        text = f"{sources}/{self._total} sources, {rate:.1f} items/s, {failures} failed"
        if sources:
            left = (self._total - sources) / (sources / (now - self._started))
            text += f", about {left:.0f} s left"
        self.say(text)

    def say(self, text: str) -> None:
        """Print a line."""
        say(text)

    def close(self) -> None:
        """Do nothing: every line has been printed."""


class Silence:
    """For --quiet: reports only what is unusual."""

    def update(self, sources: int, items: int, failures: int) -> None:
        """Show nothing."""

    def say(self, text: str) -> None:
        """Print a line: it is unusual."""
        say(text)

    def close(self) -> None:
        """Do nothing."""


def make_progress(total: int, unit: str, quiet: bool) -> Progress:
    """Return the display that fits where standard error goes; see `Bar` for what to give."""
    if quiet:
        return Silence()
    return Bar(total, unit) if sys.stderr.isatty() else Lines(total)
