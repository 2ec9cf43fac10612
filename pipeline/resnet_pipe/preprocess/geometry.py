"""Resize and crop: a decoded frame of any size becomes the square of pixels that the network sees."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import SourceError

_SUPPORT = {"bilinear": 1, "bicubic": 2}
"""Reach of Pillow's filters to either side, in source pixels (times the scale when it makes smaller)."""


@dataclass(frozen=True)
class Geometry:
    """Resize the shorter side to `resize`, then cut the central `crop` x `crop` pixels.

    `exact` gives what torchvision's `Resize(resize)` and `CenterCrop(crop)` give for a PIL image, within one
    grey level at every pixel, in one step that leaves out most of what the crop drops. `fast` uses OpenCV, without antialiasing below a scale of 2, and is near, not equal.

    Attributes:
        resize: shorter side after resizing, pixels.
        crop: side of the central square, pixels; at most `resize`.
        interpolation: the filter of `exact`; `fast` chooses its own.
        mode: `exact` or `fast`.

    Raises:
        ValueError: the crop is larger than the resized image.
    """

    resize: int
    crop: int
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    mode: Literal["exact", "fast"] = "exact"

    def __post_init__(self) -> None:
        if not 1 <= self.crop <= self.resize:
            raise ValueError(f"crop ({self.crop}) must be from 1 to resize ({self.resize})")

    @property
    def min_side(self) -> int | None:
        """What a reader may shrink the shorter side to while decoding, pixels; None to leave it alone."""
        return self.resize if self.mode == "fast" else None

    def apply(self, frame: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        """Write the crop of `frame` into `out`.

        Args:
            frame: uint8, shape (H, W, 3), RGB.
            out: uint8, shape (crop, crop, 3), contiguous, such as one row of a batch.

        Raises:
            SourceError: the frame is not of that type, or cannot be resized.
        """
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
            raise SourceError("preprocess", "bad_frame", f"a frame of {frame.dtype} {frame.shape} is not RGB")
        try:
            if self.mode == "exact":
                self._exact(frame, out)
            else:
                self._fast(frame, out)
        except Exception as error:
            raise SourceError("preprocess", "resize_failed", f"{type(error).__name__}: {error}") from error

    def _span(self, size: int, resized: int) -> tuple[float, float]:
        """Return which part of a side becomes the crop when the side is resized; both in source pixels."""
        offset = _offset(resized, self.crop)
        return offset * size / resized, (offset + self.crop) * size / resized

    def _long_span(self, short: int, long: int) -> tuple[float, float]:
        return self._span(long, int(self.resize * long / short))  # torchvision's _compute_resized_output_size

    def _exact(self, frame: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        """Resize the whole short side, and of the long side what the crop keeps.

        Pillow resizes the rows, rounds, then resizes the columns. It keeps the edges of a box as float32, too
        coarse to round every tie as torchvision does; the edges of a whole side are exact. With one pass
        exact, the other pass cannot be off by more than one grey level.
        """
        from PIL import Image

        height, width = frame.shape[:2]
        start, stop = self._long_span(min(width, height), max(width, height))
        first, last = self._reach(start, stop, max(width, height))
        start, stop = start - first, stop - first
        offset = _offset(self.resize, self.crop)
        middle = slice(offset, offset + self.crop)
        if width <= height:
            part, size, box = frame[first:last], (self.resize, self.crop), (0, start, width, stop)
            kept = np.s_[:, middle]
        else:
            part, size, box = frame[:, first:last], (self.crop, self.resize), (start, 0, stop, height)
            kept = np.s_[middle, :]
        # In one piece, because Pillow takes three times as long to copy rows with gaps between them.
        image = Image.fromarray(np.ascontiguousarray(part))
        filter_ = Image.Resampling.BILINEAR if self.interpolation == "bilinear" else Image.Resampling.BICUBIC
        out[...] = np.asarray(image.resize(size, filter_, box=box))[kept]

    def _reach(self, start: float, stop: float, size: int) -> tuple[int, int]:
        """Return the pixels of a side that the filter looks at to make the part from `start` to `stop`."""
        scale = max(1.0, (stop - start) / self.crop)
        margin = _SUPPORT[self.interpolation] * scale + 1
        return max(0, math.floor(start - margin)), min(size, math.ceil(stop + margin))

    def _fast(self, frame: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        import cv2

        height, width = frame.shape[:2]
        short, long = self._span(min(width, height), self.resize), self._long_span(*sorted((width, height)))
        (left, right), (top, bottom) = (
            (round(start), max(round(stop), round(start) + 1))
            for start, stop in ((short, long) if width <= height else (long, short))
        )
        smaller = min(right - left, bottom - top) >= 2 * self.crop
        cv2.resize(
            frame[top:bottom, left:right],
            (self.crop, self.crop),
            dst=out,
            interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR,
        )


def _offset(size: int, crop: int) -> int:
    return int(round((size - crop) / 2.0))  # noqa: RUF046 - torchvision's center_crop, to the letter
