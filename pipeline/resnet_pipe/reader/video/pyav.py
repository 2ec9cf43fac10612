"""Decode the wanted frames of a video with PyAV: those that are whole, from no more packets than needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.video.demux import Video
from resnet_pipe.reader.video.in_order import decode_all, index_by_decoding
from resnet_pipe.reader.video.index import Index, Packets, Run, joined, plan
from resnet_pipe.reader.video.runs import DamageError, EntryError, decode_run, feed
from resnet_pipe.reader.video.scan import scan

_FIELD_CODECS = frozenset(["h264", "mpeg2video"])
"""Codecs that may code the two fields of an interlaced frame as two pictures, each in its own packet."""

_PROGRESSIVE = 1
"""FFmpeg's AV_FIELD_PROGRESSIVE; 0 is unknown, and what is above is interlaced."""
_ENOUGH = 100
"""Packets that frames which are decoded in another order are among, if there are any."""


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
        times = [frame.pts for frame in feed(video, packets, run) if frame.pts is not None]
    except DamageError:
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
    runs = plan(index, index.packets, wanted)
    for number, run in enumerate(runs):
        try:
            yield from decode_run(video, index, index.packets, run)
        except EntryError:
            for whole in joined(index.packets, runs[number:]):
                yield from decode_run(video, index, index.packets, whole)
            return


def starts_anywhere(video: Video, packets: Packets) -> bool:
    """Tell whether the decoder, too, takes an entry for one: not so in a stream of gradual refreshes."""
    entry = len(packets.entry) // 2
    run = Run(entry, int(packets.entry[entry]), np.empty(0, np.int64))
    try:
        return all(frame.key_frame for frame in feed(video, packets, run))
    except DamageError:
        return False
