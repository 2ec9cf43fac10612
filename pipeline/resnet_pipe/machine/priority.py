"""How important this process is to the system."""

from __future__ import annotations

import os


def lower(nice: int) -> None:
    """Give this thread a niceness of 0 to 19, and so whatever it starts from now on; never a smaller one.

    Outside Linux, where threads have none of their own, the process gets it.
    """
    if nice > os.getpriority(os.PRIO_PROCESS, 0):
        os.setpriority(os.PRIO_PROCESS, 0, nice)
