"""Decode the packets of a run: a stretch that can be decoded in one go, for some of its frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import av
import numpy as np
from av.video.frame import VideoFrame

from resnet_pipe.reader.video.decoder import describe
from resnet_pipe.reader.video.demux import Video
from resnet_pipe.reader.video.index import Index, Packets, Run
from resnet_pipe.reader.video.passage import read

_SKIPPABLE = frozenset(["h264", "mpeg4", "mpeg1video", "mpeg2video"])
"""Codecs that tell which frames no other frame refers to."""


class DamageError(Exception):
    """A packet that cannot be decoded: its number, and what is wrong."""

    def __init__(self, packet: int, text: str) -> None:
        super().__init__(packet, text)
        self.packet, self.text = packet, text


class EntryError(Exception):
    """A key frame that, for the decoder, is none: it needs what comes before it, as in a gradual refresh."""


def decode_run(video: Video, index: Index, packets: Packets, run: Run) -> Iterator[tuple[int, VideoFrame]]:
    """Decode the wanted frames of a run, and give each out once all that it was predicted from is whole.

    They come in presentation order, with their positions in the index.

    Raises:
        SourceError: `truncated` or `damaged`.
        EntryError: decoding cannot start where the run does.
    """
    waiting = map(int, run.frames)
    following = next(waiting, None)
    held: deque[tuple[int, VideoFrame]] = deque()  # what they come from is yet to come out
    start = packets.pts[packets.entry[run.entry]]
    try:
        for frame in feed(video, packets, run):
            video.decoded += 1
            if frame.pts is None or frame.pts < start:
                continue  # it refers to what comes before the entry
            if frame.pts == start and not packets.fresh[run.entry] and not frame.key_frame:
                raise EntryError
            position = int(np.searchsorted(index.pts, frame.pts))
            if frame.is_corrupt and position < len(index.pts):
                raise DamageError(int(packets.of_frame[position]), "a frame is damaged")
            if following is not None and position > following:
                raise DamageError(int(packets.of_frame[following]), "a frame is missing")
            if position == following:
                held.append((position, frame))
                following = next(waiting, None)
            while held and packets.horizon[packets.of_frame[held[0][0]]] <= frame.pts:
                yield held.popleft()
        if following is not None:
            raise DamageError(int(packets.of_frame[following]), "a frame is missing")
        yield from held
    except DamageError as damage:
        while held and packets.of_frame[held[0][0]] < damage.packet:
            yield held.popleft()
        raise video.fault(damage.text) from None


def feed(video: Video, packets: Packets, run: Run) -> Iterator[VideoFrame]:
    """Decode the packets of a run, without those that neither are wanted nor serve another.

    One that cannot be decoded is a `DamageError`.
    """
    first = int(packets.entry[run.entry])
    is_wanted = np.zeros(run.last + 1 - first, np.bool_)
    is_wanted[packets.of_frame[run.frames] - first] = True
    skips = video.decoder.codec in _SKIPPABLE and not is_wanted.all()
    for number, packet in read(video, packets, run.entry, run.last):
        context = video.begin(number) if number == first else video.decoder.context
        if skips:
            context.skip_frame = "DEFAULT" if is_wanted[number - first] else "NONREF"
        try:
            frames = video.decoder.decode(packet)
        except av.FFmpegError as error:
            # What the decoder has begun of the packet that it refuses is no frame.
            yield from (frame for frame in _rest(video) if frame.pts != packet.pts)
            raise DamageError(number, describe(error)) from None
        yield from frames
    yield from _rest(video)


def _rest(video: Video) -> Iterator[VideoFrame]:
    """Yield the frames that the decoder has held back to put them in order."""
    try:
        yield from video.decoder.decode(None)
    except av.FFmpegError:
        return  # whoever waits for a frame misses it
