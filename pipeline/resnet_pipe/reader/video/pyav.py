"""Decode the wanted frames of a video with PyAV: those that are whole, from no more packets than needed."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from itertools import chain, groupby, pairwise

import av
import numpy as np
from av.video.frame import PictureType, VideoFrame
from numpy.typing import NDArray

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.video.best_effort import BestEffort
from resnet_pipe.reader.video.demux import Video, VideoPacket, describe
from resnet_pipe.reader.video.index import Index, Packets, Run, joined, plan
from resnet_pipe.reader.video.passage import read, read_all
from resnet_pipe.reader.video.scan import scan

_FIELD_CODECS = frozenset(["h264", "mpeg2video"])
"""Codecs that may code the two fields of an interlaced frame as two pictures, each in its own packet."""
_SKIPPABLE = frozenset(["h264", "mpeg4", "mpeg1video", "mpeg2video"])
"""Codecs that tell which frames no other frame refers to."""

_PROGRESSIVE = 1
"""FFmpeg's AV_FIELD_PROGRESSIVE; 0 is unknown, and what is above is interlaced."""
_MOST_B_FRAMES = 16
"""Frames between two that others are predicted from; H.264 allows no more."""


_ENOUGH = 100
"""Packets that frames which are decoded in another order are among, if there are any."""


class _DamageError(Exception):
    """A packet that cannot be decoded.

    Args:
        packet: its number.
        text: what is wrong.
    """

    def __init__(self, packet: int, text: str) -> None:
        super().__init__(packet, text)
        self.packet = packet
        self.text = text


class _EntryError(Exception):
    """A key frame that, for the decoder, is none: it needs what comes before it, as in a gradual refresh."""


def index(video: Video) -> Index:
    """Find out which frames a video has: from its packets, or if these cannot tell, by decoding all of it.

    Args:
        video: that has just been opened.
    """
    found = scan(video)
    if found is None or not tells_frames(video, found):
        found = _index_by_decoding(video)
    if found.left_out:
        video.notes.append(f"frames left out after a join, because they need missing ones: {found.left_out}")
    return found


def tells_frames(video: Video, index: Index) -> bool:
    """Tell whether frames are what their packets make one believe: how many there are, and when."""
    return not (_has_field_pictures(video, index) or _comes_in_another_order(video, index))


def _comes_in_another_order(video: Video, index: Index) -> bool:
    """Tell whether the times of packets are in order, but not those of the frames that are decoded.

    Then they are not times of presentation, as in what FFmpeg makes of H.264 in MXF.
    """
    packets, order = index.packets, video.context.reorder_depth
    if packets is None or not order or (np.diff(packets.pts) <= 0).any() or not len(packets.entry):
        return False
    last = min(int(packets.entry[0]) + _ENOUGH, len(packets.pts) - 1)
    run = Run(0, last, np.flatnonzero(packets.of_frame <= last))
    try:
        times = [frame.pts for frame in _feed(video, packets, run) if frame.pts is not None]
    except _DamageError:
        return False
    return any(after < before for before, after in pairwise(times))


def _has_field_pictures(video: Video, index: Index) -> bool:
    """Tell whether a frame may be coded as two pictures, which the index then takes for two frames."""
    return video.codec in _FIELD_CODECS and is_interlaced(video, index)


def is_interlaced(video: Video, index: Index) -> bool:
    """Tell whether the frames of a video are made of two fields each."""
    order = getattr(video.context, "field_order", None)
    if order is not None:
        return bool(order > _PROGRESSIVE)
    counted, interlaced = video.decoded, False
    with suppress(SourceError):  # PyAV before 18 does not tell; the first frame does
        for _, frame in decode(video, index, np.arange(min(1, len(index.pts)))):
            interlaced = frame.interlaced_frame
    video.decoded = counted
    return interlaced


def decode(video: Video, index: Index, wanted: NDArray[np.int64]) -> Iterator[tuple[int, VideoFrame]]:
    """Decode the wanted frames.

    A frame is given out when it is certain that all it was predicted from is whole. Of a damaged video, the
    wanted frames before the damage are given, then comes the error; but damage where nothing is decoded
    remains unnoticed.

    Args:
        video: an open file.
        index: of that file.
        wanted: int64, positions of frames in the index, increasing.

    Yields:
        Position in the index, and the frame, in presentation order.

    Raises:
        SourceError: `truncated` or `damaged`.
    """
    if index.packets is None:
        yield from _decode_in_order(video, wanted)
        return
    runs = plan(index, index.packets, wanted)
    for number, run in enumerate(runs):
        try:
            yield from _decode_run(video, index, index.packets, run)
        except _EntryError:
            for whole in joined(index.packets, runs[number:]):
                yield from _decode_run(video, index, index.packets, whole)
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
    """Decode the packets of a run, without those that neither are wanted nor serve another."""
    first = int(packets.entry[run.entry])
    is_wanted = np.zeros(run.last + 1 - first, np.bool_)
    is_wanted[packets.of_frame[run.frames] - first] = True
    skips = video.codec in _SKIPPABLE and not is_wanted.all()
    for number, packet in read(video, packets, run.entry, run.last):
        context = video.begin(number) if number == first else video.context
        if skips:
            context.skip_frame = "DEFAULT" if is_wanted[number - first] else "NONREF"
        try:
            frames = video.decode(packet)
        except av.FFmpegError as error:
            # What the decoder has begun of the packet that it refuses is no frame.
            yield from (frame for frame in _rest(video) if frame.pts != packet.pts)
            raise _DamageError(number, describe(error)) from None
        yield from frames
    yield from _rest(video)


def _rest(video: Video) -> Iterator[VideoFrame]:
    """Yield the frames that the decoder has held back to put them in order."""
    try:
        yield from video.decode(None)
    except av.FFmpegError:
        return  # whoever waits for a frame misses it


def _index_by_decoding(video: Video) -> Index:
    """Decode a video to know its frames.

    The time of a frame is FFmpeg's "best effort": that of presentation, or where the file holds none or they
    are less often in order, that of decoding; or for the last ones, the end of the frame before.
    """
    times, key = array("q"), bytearray()
    problem = None
    best = BestEffort()
    following = None
    try:
        for frame in _all_frames(video):
            guess = best.time(frame)
            time = following if guess is None else guess
            if time is None:
                raise SourceError("reader", "no_times", "the file has no presentation times for its frames")
            times.append(max(time, times[-1]) if times else time)
            key.append(frame.key_frame)
            following = times[-1] + frame.duration
    except SourceError as error:
        problem = error
    pts, is_key = np.asarray(times, np.int64), np.asarray(key, np.bool_)
    return Index(video.time_base, pts, is_key, None, problem, video.left_out)


def _decode_in_order(video: Video, wanted: NDArray[np.int64]) -> Iterator[tuple[int, VideoFrame]]:
    waiting = map(int, wanted)
    following = next(waiting, None)
    for position, frame in enumerate(_all_frames(video)):
        video.decoded += 1
        if position == following:
            yield position, frame
            following = next(waiting, None)
            if following is None:
                return


def _all_frames(video: Video) -> Iterator[VideoFrame]:
    """Yield all frames in presentation order, starting each stretch with its first complete frame.

    Raises:
        SourceError: `truncated` or `damaged`.
    """
    begun, video.left_out = False, 0
    for stretch, packets in groupby(read_all(video), lambda each: video.timeline.at(each[0])):
        begun |= yield from _frames_of_stretch(video, packets, stretch.first)
    if video.problem is not None:
        raise video.problem
    if not begun and video.count:
        raise video.fault("none of its frames can be decoded")


def _frames_of_stretch(
    video: Video, packets: Iterable[tuple[int, VideoPacket]], first: int
) -> Generator[VideoFrame, None, bool]:
    """Yield all frames of a stretch, from its first complete one on; return whether there are any.

    For frames before the first key frame after a join, decoders make up the missing references.

    Raises:
        SourceError: `damaged`.
    """
    held: deque[VideoFrame] = (
        deque()
    )  # what they come from, or what comes before them, may be yet to come out
    begun, waits = False, first > 0
    context = video.begin(first)
    for packet in chain((packet for _, packet in packets), [None]):
        if waits and packet is not None and not packet.is_keyframe:
            video.left_out += 1
            continue
        waits, refusal = False, None
        try:
            frames = video.decode(packet)
        except av.FFmpegError as error:
            frames, refusal = [], describe(error)
        for frame in frames:
            if frame.is_corrupt:
                refusal = "a frame is damaged"
                if begun:
                    break
                video.left_out += first > 0
                continue
            begun = True
            held.append(frame)
            least = _MOST_B_FRAMES if frame.pict_type == PictureType.B else context.reorder_depth
            while len(held) > least:
                yield held.popleft()
        if begun and refusal is not None:
            while held and held[-1].pict_type == PictureType.B:
                held.pop()
            yield from held
            raise video.fault(refusal)
    if first and not (begun or waits):
        raise video.fault("no frame after a join can be decoded")
    if video.problem is not None:
        for _ in range(min(len(held), context.reorder_depth)):
            held.pop()
    yield from held
    return begun
