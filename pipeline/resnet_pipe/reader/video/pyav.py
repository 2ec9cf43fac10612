"""Decode the wanted frames of a video with PyAV: those that are whole, from no more packets than needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.video.decoder import VideoPacket, describe
from resnet_pipe.reader.video.demux import Video
from resnet_pipe.reader.video.in_order import decode_all, index_by_decoding
from resnet_pipe.reader.video.index import Index, Packets, Run, plan
from resnet_pipe.reader.video.scan import scan, search

_FIELD_CODECS = frozenset(["h264", "mpeg2video"])
"""Codecs that may code the two fields of an interlaced frame as two pictures, each in its own packet."""

_PROGRESSIVE = 1
"""FFmpeg's AV_FIELD_PROGRESSIVE; 0 is unknown, and what is above is interlaced."""
_ENOUGH = 100
"""Packets that frames which are decoded in another order are among, if there are any."""
_SKIPPABLE = frozenset(["h264", "mpeg4", "mpeg1video", "mpeg2video"])
"""Codecs that tell which frames no other frame refers to."""
_NEAR = 500
"""Up to this many packets are read and dropped rather than seeking."""


class _DamageError(Exception):
    """A packet that cannot be decoded: its number, and what is wrong."""

    def __init__(self, packet: int, text: str) -> None:
        super().__init__(packet, text)
        self.packet, self.text = packet, text


class _EntryError(Exception):
    """A key frame that, for the decoder, is none: it needs what comes before it, as in a gradual refresh."""


def index(video: Video) -> Index:
    """Find out which frames a new video has: from its packets, or if these cannot tell, by decoding it."""
    found = scan(video)
    if found is None or not tells_frames(video, found):
        found = index_by_decoding(video)
    if found.left_out:
        video.notes.append(f"frames left out after a join, because they need missing ones: {found.left_out}")
    return found


def tells_frames(video: Video, index: Index) -> bool:
    """Tell whether frames are what their packets make one believe: how many there are, and when."""
    if video.decoder.codec in _FIELD_CODECS and is_interlaced(video, index):
        return False  # the index may have taken two fields for two frames
    return not _comes_in_another_order(video, index)


def _comes_in_another_order(video: Video, index: Index) -> bool:
    """Tell whether the times of packets are in order, but not those of the frames that are decoded.

    Then they are not times of presentation, as in what FFmpeg makes of H.264 in MXF.
    """
    packets, order = index.packets, video.decoder.context.reorder_depth
    if packets is None or not order or (np.diff(packets.pts) <= 0).any() or not len(packets.entry):
        return False
    last = min(int(packets.entry[0]) + _ENOUGH, len(packets.pts) - 1)
    run = Run(0, last, np.flatnonzero(packets.of_frame <= last))
    try:
        times = [frame.pts for frame in _feed(video, packets, run) if frame.pts is not None]
    except _DamageError:
        return False
    return any(after < before for before, after in pairwise(times))


def is_interlaced(video: Video, index: Index) -> bool:
    """Tell whether the frames of a video are made of two fields each."""
    order = getattr(video.decoder.context, "field_order", None)
    if order is not None:
        return bool(order > _PROGRESSIVE)
    counted, interlaced = video.decoded, False
    with suppress(SourceError):  # PyAV before 18 does not tell; the first frame does
        for _, frame in decode(video, index, np.arange(min(1, len(index.pts)))):
            interlaced = frame.interlaced_frame
    video.decoded = counted
    return interlaced


def decode(video: Video, index: Index, wanted: NDArray[np.int64]) -> Iterator[tuple[int, VideoFrame]]:
    """Decode the wanted frames (int64, increasing) in order; yield each with its position in the index.

    A frame is given out when it is certain that all it was predicted from is whole. Of a damaged video, the
    wanted frames before the damage are given, then comes the error; but damage where nothing is decoded
    remains unnoticed.

    Raises:
        SourceError: `truncated` or `damaged`.
    """
    if index.packets is None:
        yield from decode_all(video, wanted)
        return
    for run in plan(index, index.packets, wanted):
        try:
            yield from _decode_run(video, index, index.packets, run)
        except _EntryError:  # then nothing but the beginning of a stretch can be relied on
            fresh = index.packets.fresh
            begins = replace(index.packets, entry=index.packets.entry[fresh], fresh=fresh[fresh])
            for whole in plan(index, begins, wanted[wanted >= run.frames[0]]):
                yield from _decode_run(video, index, begins, whole)
            return


def starts_anywhere(video: Video, packets: Packets) -> bool:
    """Tell whether the decoder, too, takes an entry for one: not so in a stream of gradual refreshes."""
    entry = len(packets.entry) // 2
    run = Run(entry, int(packets.entry[entry]), np.empty(0, np.int64))
    try:
        return all(frame.key_frame for frame in _feed(video, packets, run))
    except _DamageError:
        return False


def _decode_run(video: Video, index: Index, packets: Packets, run: Run) -> Iterator[tuple[int, VideoFrame]]:
    """Decode the wanted frames of a run, as `decode` does; `_EntryError` if decoding cannot start there."""
    waiting = map(int, run.frames)
    following = next(waiting, None)
    held: deque[tuple[int, VideoFrame]] = deque()  # what they come from is yet to come out
    start = packets.pts[packets.entry[run.entry]]
    try:
        for frame in _feed(video, packets, run):
            video.decoded += 1
            if frame.pts is None or frame.pts < start:
                continue  # it refers to what comes before the entry
            if frame.pts == start and not packets.fresh[run.entry] and not frame.key_frame:
                raise _EntryError
            position = int(np.searchsorted(index.pts, frame.pts))
            if frame.is_corrupt and position < len(index.pts):
                raise _DamageError(int(packets.of_frame[position]), "a frame is damaged")
            if following is not None and position > following:
                raise _DamageError(int(packets.of_frame[following]), "a frame is missing")
            if position == following:
                held.append((position, frame))
                following = next(waiting, None)
            while held and packets.horizon[packets.of_frame[held[0][0]]] <= frame.pts:
                yield held.popleft()
        if following is not None:
            raise _DamageError(int(packets.of_frame[following]), "a frame is missing")
        yield from held
    except _DamageError as damage:
        while held and packets.of_frame[held[0][0]] < damage.packet:
            yield held.popleft()
        raise video.fault(damage.text) from None


def _feed(video: Video, packets: Packets, run: Run) -> Iterator[VideoFrame]:
    """Decode the packets of a run, without those that neither are wanted nor serve another.

    One that cannot be decoded is a `_DamageError`.
    """
    first = int(packets.entry[run.entry])
    is_wanted = np.zeros(run.last + 1 - first, np.bool_)
    is_wanted[packets.of_frame[run.frames] - first] = True
    skips = video.decoder.codec in _SKIPPABLE and not is_wanted.all()
    for number, packet in _read(video, packets, run.entry, run.last):
        context = video.begin(number) if number == first else video.decoder.context
        if skips:
            context.skip_frame = "DEFAULT" if is_wanted[number - first] else "NONREF"
        try:
            frames = video.decoder.decode(packet)
        except av.FFmpegError as error:
            # What the decoder has begun of the packet that it refuses is no frame.
            yield from (frame for frame in _rest(video) if frame.pts != packet.pts)
            raise _DamageError(number, describe(error)) from None
        yield from frames
    yield from _rest(video)


def _rest(video: Video) -> Iterator[VideoFrame]:
    """Yield the frames that the decoder has held back to put them in order."""
    with suppress(av.FFmpegError):  # whoever waits for a frame misses it
        yield from video.decoder.decode(None)


def _read(video: Video, packets: Packets, entry: int, last: int) -> Iterator[tuple[int, VideoPacket]]:
    """Yield packets with their numbers, in the order of decoding.

    They are of one stretch: the first is at a position in `packets.entry`, the last has the number `last`. If
    they are others than before, that is a `SourceError`.
    """
    first = int(packets.entry[entry])
    moved = any(stretch.shift for stretch in video.timeline.stretches)
    ahead = -1 if video.next is None else first - video.next
    if moved and ahead < 0:  # the container has other times, or the same in several places
        video.rewind()
        ahead = first
    if moved or 0 <= ahead <= _NEAR:
        for _ in range(ahead):
            next(video.packets, None)
    else:
        targets = packets.pts[packets.entry[max(0, entry - 2) : entry + 1]].tolist()
        search(video, reversed(targets), targets[-1], targets[-1])
    stretch = video.timeline.at(first)
    for number in range(first, last + 1):
        packet = next(video.packets, None)
        if packet is None or packet.pts is None or packet.pts + stretch.shift != packets.pts[number]:
            video.next = None
            raise video.problem or video.fault("reading it a second time gave different packets")
        video.next = number + 1
        yield number, stretch.moved(packet)
