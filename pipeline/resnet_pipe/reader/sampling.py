"""Which frames of a video are processed: decided exactly, from presentation times, before any decoding."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sampling:
    """What to take of a video. The frames of a video are counted in presentation order.

    At most one of `every`, `fps`, `count` and `keyframes` is given; none of them means every frame. `start`
    and `end` limit the range that they apply to, `max_frames` what comes out of them.

    Attributes:
        every: take the first frame of the range, and each N-th after it.
        fps: frames per second; see `_nearest_to_grid`.
        count: take so many frames, evenly spread: the middle one of each of `count` equal parts of the range.
        keyframes: take the frames that are coded on their own.
        start: where the range begins, seconds after the video's first frame.
        end: where the range ends, seconds after the video's first frame; a frame at this very time is out.
        max_frames: take no more than so many, the first ones.
    """

    every: int | None = None
    fps: Fraction | None = None
    count: int | None = None
    keyframes: bool = False
    start: Fraction | None = None
    end: Fraction | None = None
    max_frames: int | None = None

    def range(self, pts: NDArray[np.int64], time_base: Fraction) -> range:
        """Return the frames from `start` to `end`.

        Args:
            pts: int64, shape (frames,), presentation times, sorted, in units of `time_base`.
            time_base: seconds per unit.
        """
        if not len(pts):
            return range(0)
        first = int(pts[0])
        begin = 0 if self.start is None else bisect_left(pts, first + math.ceil(self.start / time_base))
        stop = len(pts) if self.end is None else bisect_left(pts, first + math.ceil(self.end / time_base))
        return range(begin, max(begin, stop))

    def select(
        self, pts: NDArray[np.int64], key: NDArray[np.bool_], time_base: Fraction
    ) -> NDArray[np.int64]:
        """Return the frames to take.

        Args:
            pts: int64, shape (frames,), presentation times, sorted, in units of `time_base`.
            key: bool, shape (frames,), which frames are coded on their own.
            time_base: seconds per unit.

        Returns:
            int64, positions in `pts`, increasing.
        """
        within = self.range(pts, time_base)
        taken: NDArray[np.int64] | Sequence[int]
        if self.every is not None:
            taken = within[:: self.every]
        elif self.fps is not None:
            origin = int(pts[0]) + (self.start or 0) / time_base if len(pts) else Fraction(0)
            times = pts[within.start : within.stop].tolist()
            taken = [within[n] for n in _nearest_to_grid(times, origin, 1 / (self.fps * time_base))]
        elif self.count is not None:
            parts = min(self.count, len(within))
            taken = [within[(2 * part + 1) * len(within) // (2 * parts)] for part in range(parts)]
        elif self.keyframes:
            taken = within.start + np.flatnonzero(key[within.start : within.stop])
        else:
            taken = within
        return np.asarray(taken, np.int64)[: self.max_frames]


def _nearest_to_grid(times: Sequence[int], origin: Fraction, step: Fraction) -> list[int]:
    """Return the frames that are nearest to at least one point of the grid `origin + k * step`, k = 0, 1, ...

    The grid ends at the last frame. Of two frames that are equally near, the earlier is taken. Everything is
    exact: a frame is nearest to the points between the middles to its neighbours, and how many points lie
    before a middle is a division of integers.

    Args:
        times: sorted, none before `origin` except in rounding.
        origin: of the grid, in the unit of `times`.
        step: of the grid, in the unit of `times`.
    """
    scale = 2 * step.numerator * origin.denominator
    factor = step.denominator * origin.denominator
    offset = 2 * origin.numerator * step.denominator
    taken, before = [], 0
    for frame, time in enumerate(times):
        twice_middle = time + times[frame + 1] if frame + 1 < len(times) else 2 * time
        points = max(0, (twice_middle * factor - offset) // scale + 1)
        if points > before:
            taken.append(frame)
            before = points
    return taken
