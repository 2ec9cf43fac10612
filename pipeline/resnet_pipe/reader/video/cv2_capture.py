"""Decode the wanted frames of a video with cv2.VideoCapture, for builds of OpenCV with hardware decoding.

Which frames there are, their times, and which are wanted come from the same index as with PyAV; only the
pixels are OpenCV's. docs/video.md lists its limitations. Where it would be wrong without a word, a video
fails: after damage it goes on, so that there are fewer frames than in the index, or other times; where
recordings are joined, neither times nor parameters are right; and interlaced frames are uninitialised memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.orientation import Frame
from resnet_pipe.reader.source import check_pixels
from resnet_pipe.reader.video.demux import Video
from resnet_pipe.reader.video.index import Index
from resnet_pipe.reader.video.pyav import is_interlaced

# What FFmpeg has to say of damaged files would go to the terminal.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

_ROUNDING_S = 0.002
"""Times that differ by less are the same."""


def decode(video: Video, index: Index, wanted: NDArray[np.int64]) -> Iterator[tuple[int, Frame]]:
    """Decode the wanted frames, as `pyav.decode` does, but to RGB: uint8, shape (H, W, 3).

    Its `SourceError` may also be `unsupported` or `too_large`.
    """
    if video.track:
        text = f"OpenCV can only read video track 0, not {video.track}: use reader.backend: pyav"
        raise SourceError("reader", "unsupported", text)
    if not video.timeline.is_plain:
        raise SourceError("reader", "unsupported", "OpenCV cannot read joined recordings: use backend: pyav")
    if is_interlaced(video, index):
        raise SourceError("reader", "unsupported", "OpenCV does not convert interlaced frames")
    taken = set(wanted.tolist())
    times = index.pts * float(index.time_base)
    steps = np.diff(times, prepend=-np.inf, append=np.inf)
    tolerance = np.clip(np.minimum(steps[:-1], steps[1:]) / 2, _ROUNDING_S, 0.5)
    offset = 0.0
    capture = _open(video)
    try:
        for position in range(max(taken, default=-1) + 1):
            if not capture.grab():
                if not position:
                    text = f"OpenCV decodes none of it ({video.decoder.codec})"
                    raise SourceError("reader", "unsupported", text)
                raise video.fault(f"OpenCV decodes {position} of {len(index.pts)} frames")
            video.decoded += 1
            video.alive()
            seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000  # from any moment on; 0: it knows none
            if not position:
                offset = times[0] - seconds
            elif seconds and abs(seconds + offset - times[position]) >= tolerance[position]:
                raise video.fault("OpenCV skips a frame")
            if position in taken:
                yield position, _rgb(capture, video)
    finally:
        capture.release()


def _open(video: Video) -> cv2.VideoCapture:
    if video.path is None:
        text = "OpenCV needs a copy of it, for which there is no room: raise copies_gib, or use backend: pyav"
        raise SourceError("reader", "too_large", text)
    try:
        str(video.path).encode()
    except UnicodeEncodeError:  # OpenCV would crash
        raise SourceError("reader", "unsupported", "OpenCV cannot open names that are not UTF-8") from None
    hardware = [cv2.CAP_PROP_HW_ACCELERATION, cv2.VIDEO_ACCELERATION_ANY, cv2.CAP_PROP_N_THREADS, 1]
    for parameters in hardware, []:  # some backends do not know these
        capture = cv2.VideoCapture(str(video.path), cv2.CAP_ANY, parameters)
        if capture.isOpened():
            return capture
    raise SourceError("reader", "unsupported", "OpenCV cannot open it")


def _rgb(capture: cv2.VideoCapture, video: Video) -> Frame:
    ok, frame = capture.retrieve()
    if not ok:
        raise video.fault("OpenCV returns no pixels for a frame")
    height, width = frame.shape[:2]
    check_pixels(width, height, video.max_pixels)
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]
