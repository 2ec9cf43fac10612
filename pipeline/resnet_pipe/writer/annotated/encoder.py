"""H.264 in MP4, with the times that it is given."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags as CodecFlags
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter
from numpy.typing import NDArray

from resnet_pipe.errors import SourceError

_THREADS = 8
"""At most; each holds pictures of its own."""

_LONGEST = 2**31 - 16
"""How many units a frame may last in the MP4 that FFmpeg writes, with room for rounding."""
_COARSEST = 1000
"""Units per second below which the times of frames would become equal."""

_BT601 = 6
_MATRICES = {1: 1, 2: 5, 4: 4, 5: 5, _BT601: 5, 7: 7, 9: 9}
"""The matrix coefficients of ITU-T H.273, table 4, that a video keeps, and swscale's numbers for them.

Others become BT.601. What is not said (2) is taken for that too, and remains unsaid.
"""


@dataclass(frozen=True)
class Format:
    """The format of a video.

    Attributes:
        time_base: seconds per unit of time.
        longest: the longest time between two frames, in units of the time base.
        fps: frames per second, approximately.
        aspect: width of a pixel divided by its height.
        colours: matrix, primaries and transfer characteristics, by their numbers in ITU-T H.273.
    """

    width: int
    height: int
    time_base: Fraction
    longest: int
    fps: Fraction
    aspect: Fraction
    colours: tuple[int, int, int]


class VideoFile:
    """A video that is being written, 8 bits, 4:2:0, with x264's constant rate factor `crf`.

    Odd widths and heights, which 4:2:0 does not allow, are made even by repeating the last column or row.
    Pictures of another size than the format's are scaled. Times are exact, unless a frame is shown for so
    long that coarser units are needed.

    Raises:
        SourceError: `unsupported`: the encoder does not accept such a video.
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path, form: Format, crf: int) -> None:
        self._path = path
        self._form = form
        self._size = form.width + form.width % 2, form.height + form.height % 2
        self._matrix = form.colours[0] if form.colours[0] in _MATRICES else _BT601
        self._reformatter = VideoReformatter()
        self._next = 0
        self._is_broken = False
        units = _units(form)
        self._unit = Fraction(1, units)
        # Track and movie count time in the same unit: otherwise, the start of the video would be rounded.
        options = {
            "movflags": "+faststart",
            "movie_timescale": str(units),
            "video_track_timescale": str(units),
        }
        with self._errors():
            self._container = av.open(str(path), "w", format="mp4", options=options)
            settings = {"preset": "veryfast", "crf": str(crf)}
            self._stream = self._container.add_stream("libx264", rate=form.fps, options=settings)
            self._stream.time_base = self._unit
            context = self._stream.codec_context
            context.time_base = self._unit
            context.width, context.height = self._size
            context.pix_fmt = "yuv420p"
            context.sample_aspect_ratio = form.aspect
            context.colorspace = self._matrix
            _, context.color_primaries, context.color_trc = form.colours
            context.color_range = ColorRange.MPEG
            context.thread_count = min(_THREADS, os.cpu_count() or 1)
            # Decoded in the order of presentation, the only one in which the last frame has its own length.
            context.max_b_frames = 0
            context.flags |= CodecFlags.frame_duration
            context.open()

    def write(self, picture: NDArray[np.uint8], pts: int, duration: int) -> None:
        """Add a picture, uint8, shape (H, W, 3), RGB; its times are in units of the time base."""
        frame = VideoFrame.from_numpy_buffer(self._fitted(picture), "rgb24")
        frame = self._reformatter.reformat(
            frame,
            *self._size,
            "yuv420p",
            dst_colorspace=_MATRICES[self._matrix],
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
        )
        scale = self._form.time_base / self._unit
        frame.pts = max(round(pts * scale), self._next)  # two frames at once are moved apart
        frame.duration = min(round(duration * scale), _LONGEST)
        frame.time_base = self._unit
        self._next = frame.pts + 1
        with self._errors():
            self._container.mux(self._stream.encode(frame))

    def close(self) -> bool:
        """Complete the file; tell whether there is one: if a picture could not be written, it is removed."""
        try:
            if not self._is_broken:
                with self._errors():
                    self._container.mux(self._stream.encode(None))
                    self._container.close()
        finally:
            if self._is_broken:
                with suppress(av.FFmpegError):
                    self._container.close()
                self._path.unlink(missing_ok=True)
        return not self._is_broken

    def _fitted(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = picture.shape[:2]
        if (width, height) == self._size or (width, height) != (self._form.width, self._form.height):
            return picture
        return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), "edge")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except av.FFmpegError as error:
            self._is_broken = True
            if isinstance(error, OSError):
                raise OSError(error.errno, error.strerror, str(self._path)) from None
            width, height = self._size
            text = f"it cannot be encoded as H.264, {width} x {height} pixels: {error.strerror}"
            raise SourceError("writer", "unsupported", text) from None


def _units(form: Format) -> int:
    """Return the units of time per second in the file; SourceError if a frame is shown too long for any."""
    units = form.time_base.denominator
    coarser = -(-form.longest * form.time_base.numerator // _LONGEST)
    if coarser <= 1:
        return units
    if units // coarser < _COARSEST:
        hours = float(form.longest * form.time_base) / 3600
        text = f"it cannot be encoded as MP4: two of its frames are {hours:.0f} hours apart"
        raise SourceError("writer", "unsupported", text)
    return units // coarser
