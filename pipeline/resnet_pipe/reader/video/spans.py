"""Spans: the parts of a long video that can be decoded at the same time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.reader.source import Span
from resnet_pipe.reader.video.demux import Video
from resnet_pipe.reader.video.index import Index, Packets
from resnet_pipe.reader.video.pyav import starts_anywhere, tells_frames
from resnet_pipe.reader.video.sampling import Sampling
from resnet_pipe.reader.video.scan import scan


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
