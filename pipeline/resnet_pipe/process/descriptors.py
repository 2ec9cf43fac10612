"""The numbers of the standard streams, which no file of ours must get."""

from __future__ import annotations

import os


def occupy_standard_ones() -> None:
    """Let the numbers 0 to 2 lead to the null device where nothing is open under them.

    Otherwise they would go to files of ours, and what libraries and children print into these files.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(null, number)
    if null > 2:
        os.close(null)
    else:
        os.set_inheritable(null, True)
