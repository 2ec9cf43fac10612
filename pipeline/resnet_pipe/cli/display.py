"""Runs and studies on the terminal: a bar where there is one, lines elsewhere; and their messages."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, NoReturn

from resnet_pipe.cli.terminal import say

if TYPE_CHECKING:
    from tqdm import tqdm

    from resnet_pipe.run.observe.events import Event

LINE_EVERY_S = 10.0


class Display:
    """Shows the events of a run on standard error; if it is to be quiet, only what is unusual.

    The unit is what a source is called, such as image.
    """

    def __init__(self, unit: str, quiet: bool) -> None:
        self._unit = unit
        self._quiet = quiet
        self._bar: tqdm[NoReturn] | None = None
        self._lines: _Lines | None = None

    def __call__(self, event: Event) -> None:
        """Show an event; `progress`, with the totals so far, comes several times a second."""
        fields = event.fields
        if event.name == "planned" and fields["chunks"] and not self._quiet:
            if sys.stderr.isatty():
                times = "{elapsed}<{remaining}, {rate_fmt}{postfix}"
                self._bar = _tqdm(fields["sources"], f"{{n_fmt}}/{{total_fmt}} [{times}]", self._unit)
            else:
                self._lines = _Lines(fields["sources"])
        elif event.name == "progress" and self._bar is not None:
            if fields["failures"]:
                self._bar.set_postfix_str(f"{fields['failures']} failed", refresh=False)
            self._bar.update(fields["sources"] - self._bar.n)
        elif event.name == "progress" and self._lines is not None:
            self._lines.update(fields["sources"], fields["items"], fields["failures"])
        elif event.name == "paused" and not self._quiet:
            self._say(f"paused: nothing is begun while {fields['file']} exists")
        elif event.name == "resumed" and not self._quiet:
            self._say("going on")
        elif event.name == "note" and (fields["unusual"] or not self._quiet):
            self._say(fields["text"])
        elif event.name == "warning":
            self._say(f"warning: {fields['text']}; the results are not affected")

    def _say(self, text: str) -> None:
        if self._bar is None:
            say(text)
        else:
            self._bar.clear()
            say(text)
            self._bar.refresh()

    def close(self) -> None:
        """End the display; what is said afterwards comes below it."""
        if self._bar is not None:
            self._bar.close()
        self._bar = self._lines = None


class _Lines:
    """A line on standard error every ten seconds, for logs."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._started = self._last = time.monotonic()

    def update(self, sources: int, items: int, failures: int) -> None:
        now = time.monotonic()
        if now - self._last < LINE_EVERY_S:
            return
        self._last = now
        from resnet_pipe.study.figures import rate

        per_second = rate(items / (now - self._started))
        text = f"{sources}/{self._total} sources, {per_second} items/s, {failures} failed"
        if sources:
            left = (self._total - sources) / (sources / (now - self._started))
            text += f", about {left:.0f} s left"
        say(text)


class TrialDisplay:
    """Shows the time of a search and its last trial; without a terminal, a line for each trial."""

    def __init__(self, seconds: float, quiet: bool) -> None:
        self._started = time.monotonic()
        self._quiet = quiet
        self._seconds = round(seconds)
        terminal = not quiet and sys.stderr.isatty()
        self._bar = _tqdm(self._seconds, "{n_fmt}/{total_fmt} s{postfix}") if terminal else None

    def tick(self) -> None:
        """Show the time; called several times a second."""
        if self._bar is not None:
            passed = min(int(time.monotonic() - self._started), self._seconds)
            self._bar.update(passed - self._bar.n)

    def trial(self, text: str) -> None:
        """Show what a trial has given."""
        if self._bar is not None:
            self._bar.set_postfix_str(text)
        elif not self._quiet:
            say(text)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()


def _tqdm(total: int, counts: str, unit: str = "it") -> tqdm[NoReturn]:
    from tqdm import tqdm

    return tqdm(
        total=total,
        unit=unit,
        file=sys.stderr,
        dynamic_ncols=True,
        smoothing=0.1,
        bar_format=f"{{percentage:3.0f}}%|{{bar}}| {counts}",
    )
