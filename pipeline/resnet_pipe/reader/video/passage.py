"""Read the packets of a video again: from a key frame on, or all of them, with continuous times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from resnet_pipe.reader.video.demux import Video, VideoPacket
from resnet_pipe.reader.video.index import Packets

_NEAR = 500
"""Up to this many packets are read and dropped rather than seeking."""


def read(video: Video, packets: Packets, entry: int, last: int) -> Iterator[tuple[int, VideoPacket]]:
    """Yield packets with their numbers, in the order of decoding.

    They are of one stretch: the first is at a position in `packets.entry`, the last has the number `last`. If
    they are others than before, that is a `SourceError`.
    """
    first, moved = int(packets.entry[entry]), video.timeline.is_moved
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
    shift = video.timeline.at(first).shift
    for number in range(first, last + 1):
        packet = next(video.packets, None)
        if packet is None or packet.pts is None or packet.pts + shift != packets.pts[number]:
            video.next = None
            raise video.problem or video.fault("reading it a second time gave different packets")
        video.next = number + 1
        yield number, _moved(packet, shift)


def read_all(video: Video) -> Iterator[tuple[int, VideoPacket]]:
    """Yield all packets with their numbers, from the first to the end, `problem` or `damage`.

    Frames that are cut off by a join are left out.
    """
    video.rewind()
    for number, packet in enumerate(video.packets):
        if video.damage is not None and number == video.damage[0]:
            video.problem = video.damage[1]
            return
        if number not in video.timeline.cut_off:
            yield number, _moved(packet, video.timeline.at(number).shift)


def search(video: Video, targets: Iterable[int], low: int | None, high: int) -> None:
    """Go to the first key frame that is presented from `low` (None: any time) to `high`.

    Where a demuxer lands is uncertain: some go by decoding time, some estimate it from byte positions. So it
    seeks to each of the targets, presentation times; the last resort is the beginning. Finding none is a
    `SourceError`.
    """
    for target in chain(targets, [None]):
        if target is None:
            video.rewind()
        elif not video.seek(target):
            continue
        for packet in video.packets:
            if packet.pts is None:
                continue
            if packet.pts > high:
                break
            if packet.is_keyframe and (low is None or packet.pts >= low):
                video.packets = chain([packet], video.packets)
                return
    raise video.fault("a key frame was not found again")


def _moved(packet: VideoPacket, shift: int) -> VideoPacket:
    """Shift the times of a packet."""
    if shift:
        packet.pts = None if packet.pts is None else packet.pts + shift
        packet.dts = None if packet.dts is None else packet.dts + shift
    return packet
