"""Where decoding of a video starts over: joined recordings, jumps of times, new parameters."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.reader.video.decoder import VideoPacket

UNKNOWN = -(2**63)
"""A missing time of a packet; FFmpeg's AV_NOPTS_VALUE."""

_LONGEST_GAP_S = 10
"""Seconds above which a gap is a jump, in a container whose times may jump: ffmpeg's -dts_delta_threshold."""
_BACK_S = 0.1
"""Times that go back further than this start over, if decoding can start there: ffmpeg's limit, too."""
_FAR_BACK_S = 1
"""Times that go back further than this start over anywhere: they are not merely out of order."""
_REGULAR = 1.75
"""Largest step between two adjacent frames, in usual steps; up to 1.5 if 24 frames are shown as 30."""
_UNUSUAL = 10
"""Steps that are a gap, however long each is."""


@dataclass
class Table:
    """The packets of a stream, in the order of decoding.

    Presentation and decoding times may be `UNKNOWN`; `shown` tells which frames are to be shown. `offset` is
    where each begins in the file; if unknown, where the previous one begins.
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
    """Consecutive packets that do not depend on earlier ones: decoding starts over with the first.

    `shift` is added to their times; `extradata` are parameters for the decoder, None for those in the header.
    """

    first: int
    shift: int = 0
    extradata: bytes | None = None

    def moved(self, packet: VideoPacket) -> VideoPacket:
        """Shift the times of a packet."""
        if self.shift:
            packet.pts = None if packet.pts is None else packet.pts + self.shift
            packet.dts = None if packet.dts is None else packet.dts + self.shift
        return packet


@dataclass(frozen=True)
class Timeline:
    """The stretches of a video, in order; the first begins with the first packet.

    `mended` of these begin at a jump of times, and were shifted to follow the previous one; `cuts` begin
    where the counter jumps and times have a gap; at `counted` places only the counter jumps. Packets that are
    `cut_off` are before a join, and may lack their end, because the recording ends within them. The first
    packet that is incomplete, or that follows missing ones, is `lost`.
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
        """Whether there is a single stretch with unchanged times."""
        return len(self.stretches) == 1


def find_stretches(
    table: Table,
    time_base: Fraction,
    may_jump: bool,
    torn: Mapping[int, bool],
    described: Mapping[int, bytes],
) -> Timeline:
    """Find out where decoding starts over, and the continuous times of the packets.

    Times continue as in ffmpeg: the first packet after a join is decoded one frame after the last one before.
    In a container that `may_jump`, long gaps count as jumps. `torn` are packets before which the continuity
    counter jumps, and whether the frame before is certainly complete: at a join, it is left out if not.
    `described` are the parameters of the decoder, by the first packet that they apply to.
    """
    pts, time = np.asarray(table.pts, np.int64), _times(table)
    joins, lost = _joins(table, time, time_base, may_jump, torn)
    stretches = [Stretch(0, 0, described.get(0))]
    firsts = sorted({*joins, *described} - {0})
    for first, following in pairwise([*firsts, len(time)]):
        old, begin = stretches[-1], stretches[-1].first
        step = _step(time[begin:first], time)
        shift = old.shift
        if joins.get(first):
            shift += int(time[begin:first].max()) + step - int(time[first])
        shown = _shown_times(pts[first:following], table.key[first:following])
        before = pts[begin:first].max(initial=UNKNOWN)
        if len(shown) and before != UNKNOWN:
            closest = int(before) + old.shift - int(shown.min())
            if shift <= closest or joins.get(first):
                shift = max(shift, closest + step)
        stretches.append(Stretch(first, shift, described.get(first, old.extradata)))
    mended = sum(joins.values())
    counted = sum(packet not in joins for packet in torn if lost is None or packet < lost)
    cut_off = frozenset(packet - 1 for packet in joins if not torn.get(packet, True))
    return Timeline(tuple(stretches), mended, len(joins) - mended, counted, cut_off, lost)


def is_even(table: Table) -> bool:
    """Tell whether frames follow each other in time, without room for another between two."""
    time = _times(table)
    steps = np.diff(time)
    return not ((steps < 0) | (steps > _REGULAR * _step(time, time))).any()


def _times(table: Table) -> NDArray[np.int64]:
    """Return the decoding times of all packets; for unknown ones, the time before, or else the first."""
    pts, dts = np.asarray(table.pts, np.int64), np.asarray(table.dts, np.int64)
    # What an edit list cuts away, and needs for the frames after it, is not shown: its times mean nothing.
    hidden = ~np.asarray(table.shown, np.bool_)
    time: NDArray[np.int64] = np.where(hidden, UNKNOWN, pts if (dts == UNKNOWN).all() else dts)
    known = np.flatnonzero(time != UNKNOWN)
    if not len(known):
        return np.zeros_like(time)
    last = np.searchsorted(known, np.arange(len(time)), side="right") - 1
    return np.take(time, known[np.maximum(last, 0)])


def _joins(
    table: Table, time: NDArray[np.int64], time_base: Fraction, may_jump: bool, torn: Mapping[int, bool]
) -> tuple[dict[int, bool], int | None]:
    """Return the first packets after joins, with whether times jump; and the first that is not whole."""
    key, steps = table.key, np.diff(time)
    gap = round(_LONGEST_GAP_S / time_base)
    jumps = (steps < 0) | (steps > gap) if may_jump else steps < 0
    suspects = sorted({*(np.flatnonzero(jumps) + 1).tolist(), *torn})
    joins: dict[int, bool] = {}
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
            joins[packet], peak = True, UNKNOWN
        elif packet in torn and not torn[packet]:
            lost = packet - 1
            break
        elif packet in torn and now - int(time[packet - 1]) > _REGULAR * usual:
            if not key[packet]:
                lost = packet
                break
            joins[packet] = False
    if sum(not key[packet] for packet in joins) > sum(key):
        return {}, lost  # times in disorder, not joins
    return joins, lost


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
