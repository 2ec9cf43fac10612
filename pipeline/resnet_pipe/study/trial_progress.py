"""How far a study is: a bar on a terminal, a line for each trial elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, NoReturn

from resnet_pipe.cli.terminal import say

if TYPE_CHECKING:
    from tqdm import tqdm


class Progress:
    """Shows the elapsed time, the time limit and the last trial, on standard error."""

    def __init__(self, seconds: float, quiet: bool) -> None:
        self._started = time.monotonic()
        self._quiet = quiet
        self._seconds = round(seconds)
        self._bar: tqdm[NoReturn] | None = None
        if not quiet and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=self._seconds,
                file=sys.stderr,
                dynamic_ncols=True,
                bar_format="{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} s{postfix}",
            )

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
