"""What is in a video, known before decoding: its frames, their times, and where decoding can start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import SourceError

_DEEPEST_REORDER = 64
"""Packets that no codec holds back to put frames in order; H.264 and HEVC allow 16."""


@dataclass(frozen=True)
class Packets:
    """The packets of a video stream, numbered in the order of decoding.

    Attributes:
        pts: int64, shape (packets,), presentation times.
        horizon: int64, shape (packets,), the latest presentation time up to each packet. The references of a
            frame are decoded before it, and so are presented before its horizon.
        entry: int64, shape (entries,), packets where decoding can start: key frames presented after
            everything that is decoded before them.
        fresh: bool, shape (entries,), where it must start: earlier packets belong to another part.
        of_frame: int64, shape (frames,), the packet of each frame.
    """

    pts: NDArray[np.int64]
    horizon: NDArray[np.int64]
    entry: NDArray[np.int64]
    fresh: NDArray[np.bool_]
    of_frame: NDArray[np.int64]


@dataclass(frozen=True)
class Index:
    """The frames of a video, or of a part of it, in presentation order.

    Attributes:
        time_base: seconds per unit of time.
        pts: int64, shape (frames,), presentation times, increasing.
        key: bool, shape (frames,), which frames are coded on their own.
        packets: where the frames are in the file; None if only decoding can tell, from the beginning.
        problem: what ended the video early; None if it is complete.
        left_out: frames after a join whose references are missing, because they would be before it.
    """

    time_base: Fraction
    pts: NDArray[np.int64]
    key: NDArray[np.bool_]
    packets: Packets | None
    problem: SourceError | None
    left_out: int = 0

    def seconds(self, first: int, stop: int) -> float:
        """Return how long the frames from `first` to before `stop` are shown."""
        if stop <= first:
            return 0.0
        if stop < len(self.pts):
            units = int(self.pts[stop] - self.pts[first])
        else:  # the last frame is shown for as long as the others on average
            shown = int(self.pts[-1] - self.pts[first])
            units = shown + int(self.pts[-1] - self.pts[0]) // max(1, len(self.pts) - 1)
        return float(units * self.time_base)


class Run(NamedTuple):
    """A stretch of packets to decode in one go, for some of its frames.

    It goes from a position in `Packets.entry` to the `last` packet. The frames are positions in the index,
    int64, increasing.
    """

    entry: int
    last: int
    frames: NDArray[np.int64]


def index_packets(
    pts: Sequence[int] | NDArray[np.int64],
    key: Sequence[int],
    shown: Sequence[int],
    time_base: Fraction,
    reorder: int,
    problem: SourceError | None,
    firsts: Sequence[int] = (0,),
) -> Index | None:
    """Make an index from the packets of a stream, given in the order of decoding.

    Whatever precedes the first key frame of a stretch, in decoding or in presentation, is not part of the
    video: its references are missing, and players skip it as well. If packets are missing at the end, nor are
    the last frames, because frames in the missing packets might precede them.

    `key` and `shown` tell whether a packet holds a key frame, and whether its frame is to be shown. At least
    `reorder` packets decoded before a frame may be presented after it. `firsts` are the first packets of
    stretches: 0, and those where decoding starts over. None is returned if the packets do not reliably tell
    the frames: two have the same time, times jump back, or there is no key frame.
    """
    times = np.asarray(pts, np.int64)
    is_key = np.asarray(key, np.bool_)
    parts = [  # from the first key frame of each stretch that has one
        (first + int(is_key[first:stop].argmax()), stop)
        for first, stop in pairwise([*firsts, len(is_key)])
        if is_key[first:stop].any()
    ]
    belongs, depth, orders = np.zeros(len(times), np.bool_), 0, []
    for begin, stop in parts:
        mine = times[begin:stop]
        order = np.argsort(mine)
        if not np.diff(mine[order]).all():
            return None
        # How many packets one has before it in decoding, but after it in presentation, at most: that is the
        # largest difference between a place in the one order and the place in the other.
        depth = max(depth, int((order - np.arange(len(order))).max()))
        belongs[begin:stop] = mine >= mine[0]
        orders.append(begin + order[mine[order] >= mine[0]])
    if not parts or depth > _DEEPEST_REORDER:
        return None
    order = np.concatenate(orders)
    if (np.diff(times[order]) <= 0).any():
        return None
    visible = np.asarray(shown, np.bool_)
    left_out = int((visible & ~belongs)[firsts[1] :].sum()) if len(firsts) > 1 else 0
    if problem is not None:
        # A packet that is missing may come, in presentation, before so many that are there.
        order = order[: max(0, len(order) - max(reorder, depth))]
    begins = np.asarray([begin for begin, _ in parts])
    horizon = np.maximum.accumulate(np.where(belongs, times, times[begins[0]]))
    of_frame = order[visible[order]]
    entry = np.flatnonzero(is_key & belongs & (times == horizon))
    packets = Packets(times, horizon, entry, np.isin(entry, begins), of_frame)
    return Index(time_base, times[of_frame], is_key[of_frame], packets, problem, left_out)


def plan(index: Index, packets: Packets, wanted: NDArray[np.int64]) -> list[Run]:
    """Return the runs that decode the wanted frames, and few others.

    Each frame is decoded from the last entry that is presented no later. If nothing can be skipped, two runs
    are merged, so that all frames of a stretch are decoded in one go. `wanted` are positions of frames in the
    index, int64, increasing.
    """
    if not len(wanted):
        return []
    entries = np.searchsorted(packets.pts[packets.entry], index.pts[wanted], side="right") - 1
    last = np.maximum.accumulate(packets.of_frame[wanted])  # packet that is needed up to each frame
    skips = packets.entry[entries] > np.concatenate([[-2], last[:-1]]) + 1
    begins = np.flatnonzero((np.diff(entries, prepend=-1) > 0) & (packets.fresh[entries] | skips))
    ends = np.append(begins[1:], len(wanted)) - 1
    parts = np.split(wanted, begins[1:])
    return list(map(Run, entries[begins].tolist(), last[ends].tolist(), parts))
