"""Decode all frames of a video in order, where its packets do not tell which frames there are."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from itertools import chain, groupby

import av
import numpy as np
from av.video.frame import PictureType, VideoFrame
from numpy.typing import NDArray

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.video.decoder import describe
from resnet_pipe.reader.video.demux import Video, VideoPacket
from resnet_pipe.reader.video.index import Index
from resnet_pipe.reader.video.passage import read_all
from resnet_pipe.reader.video.timeline import UNKNOWN

_MOST_B_FRAMES = 16
"""Frames between two that others are predicted from; H.264 allows no more."""


def index_by_decoding(video: Video) -> Index:
    """Decode a video to know its frames.

    The time of a frame is FFmpeg's "best effort": that of presentation, or where the file holds none or they
    are less often in order, that of decoding; or for the last ones, the end of the frame before.
    """
    times, key = array("q"), bytearray()
    problem = None
    best = _BestEffort()
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


class _BestEffort:
    """Chooses between the two times of each frame, as FFmpeg does (its `guess_correct_pts`)."""

    def __init__(self) -> None:
        self._last_pts = self._last_dts = UNKNOWN
        self._faulty_pts = self._faulty_dts = 0

    def time(self, frame: VideoFrame) -> int | None:
        """Return the better time of the next frame; None if it has none."""
        pts, dts = frame.pts, frame.dts
        if dts is not None:
            self._faulty_dts += dts <= self._last_dts
            self._last_dts = dts
        if pts is not None:
            self._faulty_pts += pts <= self._last_pts
            self._last_pts = pts
        elif dts is not None:
            self._last_pts = dts
        return pts if pts is not None and (dts is None or self._faulty_pts <= self._faulty_dts) else dts


def decode_all(video: Video, wanted: NDArray[np.int64]) -> Iterator[tuple[int, VideoFrame]]:
    """Decode a video from its beginning, and yield the wanted frames with their positions."""
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
    """Yield all frames in presentation order, starting each stretch with its first complete frame."""
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
    """
    held: deque[VideoFrame] = deque()  # what they come from, or follow, may be yet to come out
    begun, waits = False, first > 0
    context = video.begin(first)
    for packet in chain((packet for _, packet in packets), [None]):
        if waits and packet is not None and not packet.is_keyframe:
            video.left_out += 1
            continue
        waits, refusal = False, None
        try:
            frames = video.decoder.decode(packet)
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
