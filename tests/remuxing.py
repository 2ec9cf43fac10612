"""Copy the packets of videos into other files, changed on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from tests.threads import apart

Change = Callable[[int, bytes], bytes]


def remux(
    path: Path,
    to: Path,
    change: Change,
    extradata: Callable[[bytes], bytes] = bytes,
    times: Callable[[int], int] = int,
) -> Path:
    """Copy the video of a file packet by packet.

    Args:
        path: to read.
        to: to write; its extension decides the container.
        change: is given the number and the bytes of each packet, and returns what takes their place.
        extradata: is given what a decoder is told before the first packet, and returns what takes its place.
        times: is given each time of decoding and of presentation, and returns what takes their place.
    """
    return apart(_remux, path, to, change, extradata, times)


def _remux(
    path: Path,
    to: Path,
    change: Change,
    extradata: Callable[[bytes], bytes],
    times: Callable[[int], int],
) -> Path:
    with av.open(str(path)) as source, av.open(str(to), "w") as target:
        stream = source.streams.video[0]
        copy = _stream_like(target, stream)
        if stream.codec_context.extradata:
            copy.codec_context.extradata = extradata(stream.codec_context.extradata)
        for number, packet in enumerate(each for each in source.demux(stream) if each.size):
            changed = _copy(packet, change(number, bytes(packet)), copy)
            changed.pts, changed.dts = times(packet.pts or 0), times(packet.dts or 0)
            target.mux(changed)
    return to


def joined(
    paths: Sequence[Path], to: Path, dispositions: Sequence[Disposition] = (), cover: bytes = b""
) -> Path:
    """Copy the videos of several files into one, as its tracks.

    Args:
        paths: to read.
        to: to write.
        dispositions: of the tracks; without them, the container's own.
        cover: a JPEG to attach to a Matroska file.
    """
    return apart(_joined, paths, to, dispositions, cover)


def _joined(paths: Sequence[Path], to: Path, dispositions: Sequence[Disposition], cover: bytes) -> Path:
    with av.open(str(to), "w") as target:
        sources = [av.open(str(path)) for path in paths]
        tracks = [_stream_like(target, source.streams.video[0]) for source in sources]
        if cover:
            target.add_attachment("cover.jpg", "image/jpeg", cover)
        for track, disposition in zip(tracks, dispositions, strict=False):
            track.disposition = disposition
        for source, track in zip(sources, tracks, strict=True):
            for packet in source.demux(video=0):
                if packet.size:
                    target.mux(_copy(packet, bytes(packet), track))
            source.close()
    return to


def _stream_like(container: av.container.OutputContainer, stream: VideoStream) -> VideoStream:
    context = stream.codec_context
    if context.codec.canonical_name != "av1":
        return container.add_stream_from_template(stream)
    copy = container.add_stream("libsvtav1", rate=25)  # the decoder is of another name, and no template
    copy.width, copy.height, copy.pix_fmt = context.width, context.height, context.pix_fmt
    copy.codec_context.extradata = context.extradata
    return copy


def _copy(packet: Packet[VideoStream], data: bytes, stream: VideoStream) -> Any:  # noqa: ANN401
    copy: Any = Packet(data)
    copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
    copy.time_base = packet.time_base
    copy.is_keyframe = packet.is_keyframe
    copy.stream = stream
    return copy
