"""Turn decoded frames into upright RGB pixels, in the colours that the video means."""

from __future__ import annotations

from typing import Any

import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.orientation import TURNED, Frame, upright
from resnet_pipe.reader.source import check_pixels

_BT709, _FCC, _BT601, _SMPTE240M, _BT2020 = 1, 4, 5, 7, 9
"""swscale's numbers, SWS_CS_*."""

_MATRICES = {
    0: _BT601,  # the pixels are RGB
    1: _BT709,
    2: _BT601,  # not said: what FFmpeg and OpenCV assume
    4: _FCC,
    5: _BT601,
    6: _BT601,
    7: _SMPTE240M,
    9: _BT2020,
    10: _BT2020,
}
"""From the matrix coefficients of ITU-T H.273, table 4, which all codecs use, to those of swscale."""

_ORIENTATIONS = {
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}
"""EXIF's number for a display matrix: x' = a x + c y, y' = b x + d y (ISO/IEC 14496-12, section 8.3.2)."""


class Converter:
    """Converts the frames of one video, of up to `max_pixels` each.

    With `min_side`, those of at least twice that size are made smaller: that is then their shorter side.

    Attributes:
        whole: width and height of the last frame as it is displayed, if it was made smaller; else None.
    """

    def __init__(self, min_side: int | None, max_pixels: int) -> None:
        self._min_side = min_side
        self._max_pixels = max_pixels
        self._reformatter = VideoReformatter()
        self.whole: tuple[int, int] | None = None

    def rgb(self, frame: VideoFrame) -> Frame:
        """Convert a frame to uint8, shape (H, W, 3), RGB, contiguous, turned as its display matrix says.

        Colours that swscale cannot convert are `unsupported`: a `SourceError`, as is `too_large`.
        """
        check_pixels(frame.width, frame.height, self._max_pixels)
        matrix = _MATRICES.get(frame.colorspace)
        if matrix is None:
            raise SourceError("reader", "unsupported", f"colours of matrix {frame.colorspace} (ITU-T H.273)")
        width, height = self._size(frame.width, frame.height)
        full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
        converted = self._reformatter.reformat(
            frame,
            width,
            height,
            "rgb24",
            src_colorspace=matrix,
            src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            interpolation=Interpolation.AREA if width < frame.width else Interpolation.BILINEAR,
            threads=1,
        )
        pixels = np.ascontiguousarray(converted.to_ndarray(), np.uint8)
        if frame.color_range == ColorRange.MPEG and frame.format.name.startswith("gray"):
            pixels = _STRETCHED[pixels]  # swscale takes every grey for full range
        orientation = _orientation(frame)
        self.whole = None
        if width < frame.width:
            turned = orientation in TURNED
            self.whole = (frame.height, frame.width) if turned else (frame.width, frame.height)
        return upright(pixels, orientation)

    def _size(self, width: int, height: int) -> tuple[int, int]:
        shorter = min(width, height)
        if self._min_side is None or shorter < 2 * self._min_side:
            return width, height
        return round(width * self._min_side / shorter), round(height * self._min_side / shorter)


_STRETCHED = np.clip(np.round((np.arange(256) - 16) * (255 / 219)), 0, 255).astype(np.uint8)
"""From grey of limited range, 16 to 235, to full."""


def _orientation(frame: VideoFrame) -> int:
    """Return the EXIF orientation that equals a frame's display matrix, 1 if it has none.

    Angles between multiples of 90 degrees, which no camera writes, count as the nearest of them.
    """
    try:
        # Not `frame.side_data`: it stays with the frame, refers to it, and so keeps its pixels until the next
        # collection of garbage, hundreds of frames later.
        matrix: Any = SideDataContainer(frame).get("DISPLAYMATRIX")  # type: ignore[call-arg]
    except ValueError:  # side data of a kind that PyAV does not know keep it from listing any
        return {90: 8, 180: 3, -180: 3, -90: 6}.get(frame.rotation, 1)
    if matrix is None:
        return 1
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].astype(int).tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        b = c = 0
    else:
        a = d = 0
    return _ORIENTATIONS.get(tuple(np.sign([a, b, c, d]).tolist()), 1)
