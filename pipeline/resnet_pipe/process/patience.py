"""How long a child process has been busy with one thing, as far as that shows that it hangs."""

from __future__ import annotations

import os
import time
from pathlib import Path

LOOK_S = 0.25
"""How often to look, and the most that one look adds: whoever looks may have been stopped meanwhile."""
_TICKS = os.sysconf("SC_CLK_TCK")
"""Units of processor time in a second."""


class Waiting:
    """Counts the seconds that a process has spent on one thing.

    It says nothing about that thing when the process is stopped (SIGSTOP, a debugger), when everything is (a
    suspended machine, `docker pause`), or when it waits for a processor that others have. So a process that
    sleeps, or waits for a disk, is counted by the clock; one that could run, by the processor time it gets.
    Elsewhere than on Linux, all is counted by the clock.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._thing: object = None
        self._counted_s = 0.0
        self._looked_at = time.monotonic()
        self._cpu_s: float | None = None

    def look(self, thing: object) -> float:
        """Return the seconds that count. Call it every `LOOK_S`; more often does no harm.

        Another thing than at the last look starts anew.
        """
        now = time.monotonic()
        if thing != self._thing:
            self._thing, self._counted_s, self._looked_at = thing, 0.0, now
            self._cpu_s = None  # not asked for yet: most things are done by the next look
        elif now - self._looked_at >= LOOK_S / 2:  # in less, processor time is too coarse
            passed, self._looked_at = min(now - self._looked_at, LOOK_S), now
            self._counted_s += self._evident(passed)
        return self._counted_s

    def _evident(self, passed: float) -> float:
        """Return how much of the time since the last look counts."""
        place = Path("/proc", str(self._pid))
        try:
            whole = _fields(place / "stat")
            states = {_fields(thread / "stat")[0] for thread in (place / "task").iterdir()}
        except OSError:  # not on Linux, or a thread has just ended
            return passed
        before, self._cpu_s = self._cpu_s, (int(whole[11]) + int(whole[12])) / _TICKS
        if whole[0] in ("T", "t"):  # it is stopped
            return 0.0
        if "R" not in states:  # no thread has a processor, or waits for one
            return passed
        return 0.0 if before is None else min(passed, self._cpu_s - before)


def _fields(stat: Path) -> list[str]:
    """Return what follows the name in a file of proc_pid_stat(5): the state; at 11 and 12, two times."""
    return stat.read_text(errors="replace").rpartition(")")[2].split()
