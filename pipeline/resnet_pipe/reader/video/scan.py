"""Read the packets of a video, without decoding, and index its frames."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import chain

import numpy as np

from resnet_pipe.reader.source import Span
from resnet_pipe.reader.video.container import appended_at
from resnet_pipe.reader.video.decoder import VideoPacket
from resnet_pipe.reader.video.demux import Video
from resnet_pipe.reader.video.index import Index, index_packets
from resnet_pipe.reader.video.timeline import UNKNOWN, Table, find_stretches, is_even
from resnet_pipe.reader.video.transport import find_jumps

_INTER_CODECS = ["h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mpeg1video", "mpeg2video", "theora"]
_INTRA_CODECS = ["mjpeg", "prores", "dnxhd", "ffv1", "huffyuv", "utvideo", "rawvideo", "dvvideo", "png"]
_ONE_FRAME_A_PACKET = frozenset([*_INTER_CODECS, *_INTRA_CODECS])
"""Codecs whose packets hold one frame each, except for the cases that `scan` checks."""
_SHORTEST_MPEG4 = 32
"""An MPEG-4 packet shorter than this, in bytes, may only say that there is no new frame."""
_FEW = 10
"""Too few frames to tell the usual distance between two."""
_FAR = 4
"""Bytes after the last frame are too many above this multiple of the largest distance between two."""
_LEAD_S = 1
"""How long before its first frame the index of a span starts, so that it contains an earlier entry."""


def scan(video: Video, span: Span | None = None) -> Index | None:
    """Read all packets of a video that was just opened, or those that a span of it needs, and index them.

    For a whole video, this also sets its `timeline` and `damage`, whatever is returned: None if the packets
    do not tell which frames there are, and their times. A span that is not found is a `SourceError`.
    """
    if span is not None and span.start_pts is not None:
        lead = round(_LEAD_S / video.time_base)
        search(video, [span.start_pts - lead, span.start_pts - 10 * lead], None, span.start_pts)
    table, tells = _read(video, span)
    if span is None:
        _mend(video, table)
    else:
        video.extent = _extent(table, span)
        if video.marked is not None:
            raise video.fault("a packet is not whole")
    if not tells or UNKNOWN in table.pts:
        return None
    pts = np.array(table.pts, np.int64)
    firsts = [stretch.first for stretch in video.timeline.stretches if stretch.first < len(pts)]
    for stretch in video.timeline.stretches[1:]:
        pts[stretch.first :] += stretch.shift - video.timeline.at(stretch.first - 1).shift
    problem = video.problem if video.damage is None else video.damage[1]
    reorder = video.decoder.context.reorder_depth
    return index_packets(pts, table.key, table.shown, video.time_base, reorder, problem, firsts or [0])


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


def _read(video: Video, span: Span | None) -> tuple[Table, bool]:
    """Read packets; also return whether each holds a frame, as far as that is visible."""
    table, tells = Table(), video.decoder.codec in _ONE_FRAME_A_PACKET
    codec, missing, offset = video.decoder.codec, -1 if span is None else span.frames, 0
    for packet in video.packets:
        pts, dts = packet.pts, packet.dts
        tells = tells and not _may_be_none(packet, codec)
        visible = not packet.is_discard and _shows_a_frame(packet, codec)
        offset = packet.pos or offset
        table.pts.append(UNKNOWN if pts is None else pts)
        table.dts.append(UNKNOWN if dts is None else dts)
        table.key.append(packet.is_keyframe)
        table.shown.append(visible)
        table.offset.append(offset)
        if span is not None:
            missing -= visible and pts is not None and _is_within(pts, span)
            if not missing:
                break
    return table, tells


def _extent(table: Table, span: Span) -> range:
    """Return where in the file the packets of a span begin, from its start on."""
    begins = span.start_pts
    own = [at for at, pts in zip(table.offset, table.pts, strict=True) if begins is None or pts >= begins]
    return range(min(own, default=0), max(own, default=0))


def _mend(video: Video, table: Table) -> None:
    """Find out how the packets of a video belong together, and where they end early."""
    torn: dict[int, bool] = {}
    if video.marked is not None or (video.is_transport and not is_even(table)):
        whole = _follow(video, table, torn)
        if whole is not None:
            video.damage = whole, video.fault("a packet is not whole")
            table.cut(whole)
        torn = {packet: whole for packet, whole in torn.items() if 0 < packet < len(table.pts)}
    timeline = find_stretches(table, video.time_base, video.may_jump, torn, video.described)
    if timeline.lost is not None:
        video.damage = timeline.lost, video.fault("packets are missing or damaged")
        table.cut(timeline.lost)
    video.timeline = timeline
    for packet in timeline.cut_off:
        table.shown[packet] = False
    rest = _rest(video, table)
    if rest:
        video.notes.append(f"its last {rest} bytes hold no data of this video track")
    appended = appended_at(video.opened, max(table.offset, default=0)) if video.damage is None else None
    if appended is not None:
        video.notes.append(f"another file was appended at byte {appended}: it is not read")
    for count, text in (
        (timeline.counted, "its continuity counter jumps at {}: nothing is missing"),
        (timeline.cuts, "its continuity counter jumps at {}, where its timestamps have a gap"),
        (len(timeline.cut_off), "a frame is cut off at {}, where recordings are joined, and was left out"),
        (timeline.mended, "its timestamps jump at {}, where recordings are joined: made continuous"),
    ):
        if count:
            video.notes.append(text.format(f"{count} place{'' if count == 1 else 's'}"))


def _rest(video: Video, table: Table) -> int:
    """Return the number of bytes after the last frame if they cannot belong to it; else 0.

    If transport streams are joined, and the second has its video in another PID, FFmpeg only reads the first.
    """
    if not video.may_jump or video.damage is not None or len(table.offset) < _FEW:
        return 0
    rest = video.opened.size - table.offset[-1]
    return rest if rest > _FAR * np.diff(table.offset).max() else 0


def _follow(video: Video, table: Table, torn: dict[int, bool]) -> int | None:
    """Add the packets to `torn` before which a transport stream has lost count.

    If it jumps within a frame, data are missing, which even the H.264 decoder does not always notice. Return
    how many packets are whole; None if all are, as far as can be told, but for those before `torn`.
    """
    found = False
    for jump in find_jumps(video.opened, video.stream.id, video.alive):
        found = True
        following = bisect_left(table.offset, jump.offset)
        if following == len(table.offset) and not jump.whole:
            return max(0, following - 1)
        torn[following] = jump.whole and torn.get(following, True)
    return None if found else video.marked


def _is_within(pts: int, span: Span) -> bool:
    return (span.start_pts is None or pts >= span.start_pts) and (span.end_pts is None or pts < span.end_pts)


def _may_be_none(packet: VideoPacket, codec: str) -> bool:
    """Return whether a packet may hold no frame at all.

    In Theora, a bit says that it is a header (specification, section 6.1), as where streams are chained.
    """
    if codec == "theora":
        return bool(memoryview(packet)[0] & 0x80)
    return codec == "mpeg4" and packet.size < _SHORTEST_MPEG4


def _shows_a_frame(packet: VideoPacket, codec: str) -> bool:
    """Return whether a packet holds a frame to show, and not only a reference for others.

    In VP8 a bit says so (RFC 6386, section 9.1). In VP9, the encoder puts both into one packet, a superframe
    (VP9 bitstream specification, annex B); a packet with a hidden frame alone is unusual, but allowed.
    """
    if codec == "vp8":
        return bool(memoryview(packet)[0] & 0x10)
    if codec == "vp9":
        data = memoryview(packet)
        first, last = data[0], data[-1]
        if first & 0x30 == 0x30:  # profile 3 has one more bit
            first <<= 1
        show_existing, show = first & 0x08, first & 0x02
        return bool(show_existing or show or last & 0xE0 == 0xC0)
    return True
