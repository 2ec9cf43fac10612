"""What is to be read of a video: all that sampling takes of it, or one of the spans of a long one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.source import Span
from resnet_pipe.reader.video.demux import Video
from resnet_pipe.reader.video.index import Index, Packets
from resnet_pipe.reader.video.pyav import index, starts_anywhere, tells_frames
from resnet_pipe.reader.video.sampling import Sampling
from resnet_pipe.reader.video.scan import scan


@dataclass(frozen=True)
class Reading:
    """What is to be read of a video; frames are positions in the index, which is of all of it, or of a piece.

    `first_frame` is the `frame_index` of the first frame of the index, `within` is what is to be read, and of
    this `wanted`, int64, is what is to be taken.
    """

    index: Index
    first_frame: int
    within: range
    wanted: NDArray[np.int64]


def whole(video: Video, sampling: Sampling) -> Reading:
    """Return what sampling takes of a video; raises `SourceError` if that is nothing (`no_frames`)."""
    found = index(video)
    if not len(found.pts):
        raise found.problem or SourceError("reader", "no_frames", "its video stream holds no frames")
    wanted = sampling.select(found.pts, found.key, found.time_base)
    if not len(wanted) and found.problem is None:
        seconds = found.seconds(0, len(found.pts))
        problem = f"it has no frames between start and end: it is {seconds:.3f} s long"
        raise SourceError("reader", "no_frames", problem)
    within = sampling.range(found.pts, found.time_base)
    if sampling.max_frames is not None and len(wanted):
        within = range(within.start, int(wanted[-1]) + 1)
    return Reading(found, 0, within, wanted)


def divide(video: Video, sampling: Sampling, span_s: float) -> tuple[Span, ...]:
    """Divide a video that was just opened into spans of `span_s` or more; only its packets are read.

    Those with frames to take are returned, in order; none if the video is to be read as a whole. One that
    cannot be read is a `SourceError`.
    """
    if video.seconds is not None and video.seconds < 2 * span_s:
        return ()
    found = scan(video)
    if found is None or found.packets is None or found.problem is not None:
        return ()
    if not video.timeline.is_plain or video.timeline.counted:
        return ()  # a span is found by its times, and read as if there were no join
    if not tells_frames(video, found) or not starts_anywhere(video, found.packets):
        return ()
    wanted = sampling.select(found.pts, found.key, found.time_base)
    spans = split(found, found.packets, wanted, span_s)
    return spans if len(spans) > 1 else ()


def split(index: Index, packets: Packets, wanted: NDArray[np.int64], span_s: float) -> tuple[Span, ...]:
    """Divide a video at entries into spans of `span_s` or more, without those that give no item.

    `wanted` are the positions of the frames that sampling takes, int64, increasing.
    """
    least = span_s / float(index.time_base)
    cuts = [0]
    for pts in packets.pts[packets.entry].tolist():
        if pts - index.pts[cuts[-1]] >= least and index.pts[-1] - pts >= least / 2:
            cuts.append(int(np.searchsorted(index.pts, pts)))
    taken = np.zeros(len(index.pts), np.bool_)
    taken[wanted] = True
    parts = [
        (first, stop)
        for first, stop in zip(cuts, [*cuts[1:], len(taken)], strict=True)
        if taken[first:stop].any()
    ]
    return tuple(
        Span(
            index=number,
            count=len(parts),
            start_pts=int(index.pts[first]) if first else None,
            end_pts=int(index.pts[stop]) if stop < len(taken) else None,
            first_frame=first,
            frames=stop - first,
            wanted=None if taken[first:stop].all() else np.packbits(taken[first:stop]).tobytes(),
        )
        for number, (first, stop) in enumerate(parts)
    )


def of_span(video: Video, span: Span) -> Reading:
    """Return the frames of a span; raises `SourceError` if the file has changed, or is damaged there."""
    changed = "it has changed since it was divided into spans"
    found = scan(video, span)
    if found is None:
        raise video.fault(changed)
    first = 0 if span.start_pts is None else int(np.searchsorted(found.pts, span.start_pts))
    stop = len(found.pts) if span.end_pts is None else int(np.searchsorted(found.pts, span.end_pts))
    if stop - first != span.frames or span.start_pts not in (None, found.pts[first]):
        raise found.problem or video.fault(changed)
    wanted = np.arange(first, stop)
    if span.wanted is not None:
        taken = np.unpackbits(np.frombuffer(span.wanted, np.uint8), count=span.frames)
        wanted = wanted[taken.astype(np.bool_)]
    return Reading(found, span.first_frame - first, range(first, stop), wanted)
