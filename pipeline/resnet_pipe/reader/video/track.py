"""Choose the video track of a file: the requested one, or else the one that ffmpeg selects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from av.stream import Disposition
from av.video.stream import VideoStream

from resnet_pipe.errors import SourceError

_PICTURE = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
"""Dispositions of video tracks that are not videos, such as covers."""
_DEFAULT_PIXELS = 5_000_000
"""How many pixels the default flag counts as in ffmpeg's automatic stream selection."""


@dataclass(frozen=True)
class Track:
    """The track of a file that is read, and its number among the video tracks, as in ffmpeg's `v:N`.

    `note` tells which one was selected, if there were several and the job did not name one.
    """

    number: int
    stream: VideoStream
    note: str | None


def choose(streams: Sequence[VideoStream], asked: int | None) -> Track:
    """Choose the track that is asked for, or that ffmpeg selects; raises `SourceError`: `no_video`."""
    if asked is not None:
        if asked >= len(streams):
            raise SourceError("reader", "no_video", f"it has {_count(streams)}, but reader.track is {asked}")
        if streams[asked].disposition & _PICTURE:
            raise SourceError("reader", "no_video", f"its video track {asked} is a picture, not a video")
        return Track(asked, streams[asked], None)
    videos = [number for number, stream in enumerate(streams) if not stream.disposition & _PICTURE]
    if not videos:
        raise SourceError("reader", "no_video", "there is no video in it")
    number = max(videos, key=lambda each: _weight(streams[each]))
    note = None
    if len(videos) > 1:
        note = f"it has {_count(streams)}: track {number} was read; reader.track selects another"
    return Track(number, streams[number], note)


def _weight(stream: VideoStream) -> tuple[bool, int]:
    """Return ffmpeg's criteria: whether there are packets, as the header says, and the size; the first wins.

    Without a decoder, the size is unknown: a track with one comes first, unless only the other is the
    default.
    """
    is_default = bool(stream.disposition & Disposition.default)
    pixels = stream.width * stream.height if stream.codec_context else 0
    return bool(stream.frames), pixels + _DEFAULT_PIXELS * is_default


def _count(streams: Sequence[VideoStream]) -> str:
    last = len(streams) - 1
    return f"{last + 1} video tracks (0 to {last})" if last else "1 video track (number 0)"
