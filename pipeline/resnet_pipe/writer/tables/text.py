"""What the line-based writers, csv and jsonl, have in common: numbers as the shortest exact text."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def numbers(values: NDArray[np.float32]) -> list[list[float]]:
    """Return rows of Python floats whose shortest text, read back as float32, gives the same bits.

    `float(np.float32(0.1))` prints 0.10000000149011612: digits that the network never gave. The
    shortest text of the float32 itself is 0.1, so each value goes through it once.
    """
    return [[float(text) for text in row] for row in values.astype(str).tolist()]
