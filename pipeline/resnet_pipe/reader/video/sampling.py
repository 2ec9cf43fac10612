"""Which frames of a video are processed: decided exactly, from presentation times, before any decoding."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sampling:
    """What to take of a video. The frames of a video are counted in presentation order.

    At most one of `every`, `fps`, `count` and `keyframes` is given; none of them means every frame. `every`
    takes the first frame of the range, and each N-th after it; `fps` those that are nearest to so many times
    in a second; `count` the middle one of each of so many equal parts of the range; `keyframes` those that
    are coded on their own. `start` and `end` limit the range that they apply to, in seconds after the video's
    first frame; a frame at the very end is out. Of what comes out of them, the first `max_frames` are taken.
    """

    every: int | None = None
    fps: Fraction | None = None
    count: int | None = None
    keyframes: bool = False
    start: Fraction | None = None
    end: Fraction | None = None
    max_frames: int | None = None

    def range(self, pts: NDArray[np.int64], time_base: Fraction) -> range:
        """Return the frames from `start` to `end`, of times as for `select`."""
        if not len(pts):
            return range(0)
        first = int(pts[0])
        begin = 0 if self.start is None else bisect_left(pts, first + math.ceil(self.start / time_base))
        stop = len(pts) if self.end is None else bisect_left(pts, first + math.ceil(self.end / time_base))
        return range(begin, max(begin, stop))

    def select(
        self, pts: NDArray[np.int64], key: NDArray[np.bool_], time_base: Fraction
    ) -> NDArray[np.int64]:
        """Return the frames to take, positions in `pts`, increasing.

        `pts` are presentation times, sorted, in units of `time_base` seconds; `key` tells which frames are
        coded on their own.
        """
        within = self.range(pts, time_base)
        inside = slice(within.start, within.stop)
        if self.fps is not None:
            origin = int(pts[0]) + (self.start or 0) / time_base if len(pts) else Fraction(0)
            taken = _nearest_to_grid(pts[inside], origin, 1 / (self.fps * time_base))
        elif self.count is not None:
            parts = min(self.count, len(within))
            taken = np.array([(2 * part + 1) * len(within) // (2 * parts) for part in range(parts)], np.int64)
        elif self.keyframes:
            taken = np.flatnonzero(key[inside])
        else:
            taken = np.arange(0, len(within), self.every or 1)
        return (within.start + taken)[: self.max_frames]


def _nearest_to_grid(times: NDArray[np.int64], origin: Fraction, step: Fraction) -> NDArray[np.int64]:
    """Return the frames that are nearest to at least one point of the grid `origin + k * step`, k = 0, 1, ...

    Both are in the unit of `times`, which are sorted, none before `origin` except in rounding. The grid ends
    at the last frame. Of two frames that are equally near, the earlier is taken. Everything is exact: a frame
    is nearest to the points between the middles to its neighbours, and how many points lie before a middle is
    a division of integers.
    """
    scale = 2 * step.numerator * origin.denominator
    factor = step.denominator * origin.denominator
    offset = 2 * origin.numerator * step.denominator
    taken, before = array("q"), 0
    # Integers of any size, but never those of all frames at once; the last frame is its own neighbour.
    for frame, (time, following) in enumerate(pairwise(map(int, chain(times, times[-1:])))):
        points = max(0, ((time + following) * factor - offset) // scale + 1)
        if points > before:
            taken.append(frame)
            before = points
    return np.asarray(taken, np.int64)
