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
from resnet_pipe.reader.video.decoder import VideoPacket, describe
from resnet_pipe.reader.video.demux import Video
from resnet_pipe.reader.video.index import Index
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
    following = None
    try:
        for frame, guess in _timed(_all_frames(video)):
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


def _timed(frames: Iterable[VideoFrame]) -> Iterator[tuple[VideoFrame, int | None]]:
    """Yield frames, each with the better of its times, if any, as FFmpeg finds it: `guess_correct_pts`."""
    last_pts = last_dts = UNKNOWN
    faulty_pts = faulty_dts = 0
    for frame in frames:
        pts, dts = frame.pts, frame.dts
        if dts is not None:
            faulty_dts += dts <= last_dts
            last_dts = dts
        if pts is not None:
            faulty_pts += pts <= last_pts
            last_pts = pts
        elif dts is not None:
            last_pts = dts
        yield frame, pts if pts is not None and (dts is None or faulty_pts <= faulty_dts) else dts


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
    for stretch, packets in groupby(_read_all(video), lambda each: video.timeline.at(each[0])):
        begun |= yield from _frames_of_stretch(video, packets, stretch.first)
    if video.problem is not None:
        raise video.problem
    if not begun and video.count:
        raise video.fault("none of its frames can be decoded")


def _read_all(video: Video) -> Iterator[tuple[int, VideoPacket]]:
    """Yield all packets with their numbers, from the first to the end, `problem` or `damage`.

    Frames that are cut off by a join are left out.
    """
    video.rewind()
    for number, packet in enumerate(video.packets):
        if video.damage is not None and number == video.damage[0]:
            video.problem = video.damage[1]
            return
        if number not in video.timeline.cut_off:
            yield number, video.timeline.at(number).moved(packet)


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
