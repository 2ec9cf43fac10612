"""Read sources a second time, for pictures of full size to draw on: videos always with PyAV."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from resnet_pipe.reader.images.decode import decode
from resnet_pipe.reader.opened import Opened
from resnet_pipe.reader.video import pyav
from resnet_pipe.reader.video.demux import Video
from resnet_pipe.reader.video.index import Index
from resnet_pipe.reader.video.picture import Converter
from resnet_pipe.writer.annotated.encoder import Format

_MAX_PIXELS = 2**31 - 1
"""The reader of the job has its own limit, and there are no labels of what is beyond that."""


@dataclass(frozen=True)
class Picture:
    """A frame of a video.

    Attributes:
        position: in presentation order.
        pixels: uint8, shape (H, W, 3), RGB, upright; free to be drawn on.
        pts: presentation time, in units of the time base, as is the duration.
        form: what a video of such frames is like.
    """

    position: int
    pixels: NDArray[np.uint8]
    pts: int
    duration: int
    form: Format


def read_image(data: bytes) -> NDArray[np.uint8]:
    """Return the pixels of an image file: uint8, shape (H, W, 3), RGB, upright; free to be drawn on.

    It raises what `decode` does.
    """
    # Where the job does not accept a file that ends too early, there are no labels for it.
    item = decode(data, _MAX_PIXELS, accept_truncated=True, min_side=None)
    return np.require(item.frame, requirements=["C", "W"])


def read_video(
    opened: Opened, track: int | None, wanted: NDArray[np.int64] | None, alive: Callable[[], None]
) -> Iterator[Picture]:
    """Yield frames of a video in presentation order, up to the damage, if any.

    They are of a track, None for the one that ffmpeg selects, and at the wanted positions, which increase;
    None for all. Alive is called often between two pictures. It raises what `VideoReader.read` does.
    """
    with Video(opened, _MAX_PIXELS, alive, track) as video:
        index = pyav.index(video)
        there = np.arange(len(index.pts)) if wanted is None else wanted[wanted < len(index.pts)]
        converter = Converter(None, _MAX_PIXELS)
        longest = int(np.diff(index.pts).max(initial=0))
        for position, frame in pyav.decode(video, index, there) if len(there) else ():
            pixels = np.require(converter.rgb(frame), requirements=["C", "W"])
            form = _format(video, index, longest, frame, pixels)
            yield Picture(position, pixels, int(index.pts[position]), _duration(index, position, frame), form)
        if index.problem is not None:
            raise index.problem
        if wanted is not None and len(there) < len(wanted):
            raise video.fault("it has changed since its labels were computed")


def _format(video: Video, index: Index, longest: int, frame: VideoFrame, pixels: NDArray[np.uint8]) -> Format:
    height, width = pixels.shape[:2]
    aspect = video.decoder.context.sample_aspect_ratio or Fraction(1)
    seconds = float((index.pts[-1] - index.pts[0]) * index.time_base)
    fps = (len(index.pts) - 1) / seconds if seconds else 25.0
    return Format(
        width=width,
        height=height,
        time_base=index.time_base,
        longest=longest,
        fps=Fraction(min(max(fps, 1), 240)).limit_denominator(1001),
        aspect=aspect if height == frame.height else 1 / aspect,
        colours=(frame.colorspace, frame.color_primaries, frame.color_trc),
    )


def _duration(index: Index, position: int, frame: VideoFrame) -> int:
    if position + 1 < len(index.pts):
        return int(index.pts[position + 1] - index.pts[position])
    average = int(index.pts[-1] - index.pts[0]) // max(1, len(index.pts) - 1)
    return frame.duration or average
