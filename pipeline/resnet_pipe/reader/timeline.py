"""Where the packets of a video begin anew: recordings that were joined, times that jump, other parameters."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

UNKNOWN = -(2**63)
"""A time that a packet does not have; FFmpeg's AV_NOPTS_VALUE."""

_LONGEST_GAP_S = 10
"""A gap that is longer is no gap, in a container whose times may jump: ffmpeg's -dts_delta_threshold."""
_BACK_S = 0.1
"""Times that go back further begin again, where decoding can: ffmpeg's limit, too."""
_FAR_BACK_S = 1
"""Times that go back further begin again anywhere: they are not merely out of order."""
_REGULAR = 1.75
"""Steps between two frames between which none is missing; up to 1.5 where 24 frames are shown as 30."""
_UNUSUAL = 10
"""Steps that are a gap, however long each is."""


@dataclass
class Table:
    """What the packets of a stream say, in the order of decoding.

    Attributes:
        pts: presentation times, or `UNKNOWN`.
        dts: decoding times, or `UNKNOWN`.
        key: whether each holds a key frame.
        shown: whether the frame in each is to be shown.
        offset: where each begins in the file; of a packet that does not say, where the one before it does.
    """

    pts: array[int] = field(default_factory=lambda: array("q"))
    dts: array[int] = field(default_factory=lambda: array("q"))
    key: bytearray = field(default_factory=bytearray)
    shown: bytearray = field(default_factory=bytearray)
    offset: array[int] = field(default_factory=lambda: array("q"))

    def cut(self, count: int) -> None:
        """Drop all packets but the first `count`."""
        for column in (self.pts, self.dts, self.key, self.shown, self.offset):
            del column[count:]


@dataclass(frozen=True)
class Stretch:
    """Packets in a row that need nothing of those before them: decoding begins anew with the first.

    Attributes:
        first: number of the first packet.
        shift: what is added to the times of its packets.
        extradata: parameters that the decoder needs; None for those that the file's header has.
    """

    first: int
    shift: int = 0
    extradata: bytes | None = None


@dataclass(frozen=True)
class Timeline:
    """The stretches of a video.

    Attributes:
        stretches: in order; the first begins with the first packet.
        mended: how many of these begin where times jump, and go on after those before them.
        cuts: how many begin where count was lost, with times that go on later.
        counted: places where count was lost, and nothing else.
        cut_off: packets before a joint of which the end may be missing: the recording ends within them.
        lost: number of the first packet of which something is missing, or before which others are; None if
            there is none.
    """

    stretches: tuple[Stretch, ...] = (Stretch(0),)
    mended: int = 0
    cuts: int = 0
    counted: int = 0
    cut_off: frozenset[int] = frozenset()
    lost: int | None = None

    def at(self, packet: int) -> Stretch:
        """Return the stretch that a packet is in."""
        return self.stretches[bisect_right(self.stretches, packet, key=lambda each: each.first) - 1]

    @property
    def is_plain(self) -> bool:
        """Whether there is a single stretch, with its times as they are."""
        return len(self.stretches) == 1

    @property
    def is_moved(self) -> bool:
        """Whether times have been changed: a time of the container is found at several places, or at none."""
        return any(stretch.shift for stretch in self.stretches)

    @property
    def firsts(self) -> list[int]:
        """The first packet of each stretch."""
        return [stretch.first for stretch in self.stretches]


def find_stretches(
    table: Table,
    time_base: Fraction,
    may_jump: bool,
    torn: Mapping[int, bool],
    described: Mapping[int, bytes],
) -> Timeline:
    """Find out where packets begin anew, and what their times are, if they go on there.

    Times go on as with ffmpeg: the first packet after a joint is decoded one frame after the last before it.

    Args:
        table: of all packets.
        time_base: seconds per unit of time.
        may_jump: whether the container is one in which long gaps are no gaps.
        torn: packets before which the container has lost count, and whether the frame before is whole for
            certain. At a joint, it is left out if not.
        described: the parameters of the decoder, by the packet from which on they count.
    """
    pts, time = np.asarray(table.pts, np.int64), _times(table)
    joints, lost = _joints(table, time, time_base, may_jump, torn)
    stretches = [Stretch(0, 0, described.get(0))]
    for first in sorted({*joints, *described} - {0}):
        old, begin = stretches[-1], stretches[-1].first
        following = min((each for each in (*joints, *described) if each > first), default=len(time))
        step = _step(time[begin:first], time)
        shift = old.shift
        if joints.get(first):
            shift += int(time[begin:first].max()) + step - int(time[first])
        shown = _shown_times(pts[first:following], table.key[first:following])
        before = pts[begin:first].max(initial=UNKNOWN)
        if len(shown) and before != UNKNOWN:
            closest = int(before) + old.shift - int(shown.min())
            if shift <= closest or joints.get(first):
                shift = max(shift, closest + step)
        stretches.append(Stretch(first, shift, described.get(first, old.extradata)))
    mended = sum(joints.values())
    counted = sum(packet not in joints for packet in torn if lost is None or packet < lost)
    cut_off = frozenset(packet - 1 for packet in joints if not torn.get(packet, True))
    return Timeline(tuple(stretches), mended, len(joints) - mended, counted, cut_off, lost)


def is_even(table: Table) -> bool:
    """Tell whether frames follow each other in time, without room for another between two."""
    time = _times(table)
    steps = np.diff(time)
    return not ((steps < 0) | (steps > _REGULAR * _step(time, time))).any()


def _times(table: Table) -> NDArray[np.int64]:
    """Return the times of decoding, of all packets."""
    pts, dts = np.asarray(table.pts, np.int64), np.asarray(table.dts, np.int64)
    # What an edit list cuts away, and needs for the frames after it, is not shown: its times mean nothing.
    hidden = ~np.asarray(table.shown, np.bool_)
    return _filled(np.where(hidden, UNKNOWN, pts if (dts == UNKNOWN).all() else dts))


def _filled(time: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return times without unknown ones: these are as the one before, or at the beginning, the one after."""
    known = np.flatnonzero(time != UNKNOWN)
    if len(known) == len(time):
        return time
    if not len(known):
        return np.zeros_like(time)
    last = np.searchsorted(known, np.arange(len(time)), side="right") - 1
    return np.take(time, known[np.maximum(last, 0)])


def _joints(
    table: Table, time: NDArray[np.int64], time_base: Fraction, may_jump: bool, torn: Mapping[int, bool]
) -> tuple[dict[int, bool], int | None]:
    """Return the packets that others are joined with, and a packet before which some are missing.

    Args:
        table: of all packets.
        time: int64, shape (packets,), of decoding.
        time_base: seconds per unit of time.
        may_jump: as above.
        torn: as above.

    Returns:
        Packet to whether its times jump; and the packet, or None.
    """
    key, steps = table.key, np.diff(time)
    gap = round(_LONGEST_GAP_S / time_base)
    jumps = (steps < 0) | (steps > gap) if may_jump else steps < 0
    suspects = sorted({*(np.flatnonzero(jumps) + 1).tolist(), *torn})
    joints: dict[int, bool] = {}
    lost = None
    begin, peak = 0, UNKNOWN
    usual = _step(time, time) if suspects else 0
    for packet in suspects:
        peak = max(peak, int(time[begin:packet].max(initial=UNKNOWN)))
        begin, now = packet, int(time[packet])
        anew = bool(key[packet]) or packet in torn
        goes_back = (peak - now) * time_base > (_BACK_S if anew else _FAR_BACK_S)
        leaps = may_jump and anew and now - peak > max(gap, _UNUSUAL * usual)
        if goes_back or leaps:
            joints[packet], peak = True, UNKNOWN
        elif packet in torn and not torn[packet]:
            lost = packet - 1
            break
        elif packet in torn and now - int(time[packet - 1]) > _REGULAR * usual:
            if not key[packet]:
                lost = packet
                break
            joints[packet] = False
    if sum(not key[packet] for packet in joints) > sum(key):
        return {}, lost  # times in disorder, not joints
    return joints, lost


def _step(time: NDArray[np.int64], otherwise: NDArray[np.int64]) -> int:
    """Return the usual time from one frame to the next."""
    for times in (time, otherwise):
        steps = np.diff(np.sort(times[times != UNKNOWN]))
        if (steps > 0).any():
            return int(np.median(steps[steps > 0]))
    return 1


def _shown_times(pts: NDArray[np.int64], key: Sequence[int]) -> NDArray[np.int64]:
    """Return the times of the frames from the first key frame on, as far as they are known."""
    begin = next((number for number, is_key in enumerate(key) if is_key), len(pts))
    times: NDArray[np.int64] = pts[begin:][pts[begin:] != UNKNOWN]
    shown: NDArray[np.int64] = times[times >= times[:1]]
    return shown
