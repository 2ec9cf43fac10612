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

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Geometry:
    """Resize the shorter side to `resize`, then cut the central `crop` x `crop` pixels.

    `exact` gives what torchvision's `Resize(resize)` and `CenterCrop(crop)` give for a PIL image, within one
    grey level at every pixel, but computes only the pixels that the crop keeps, in one step. `fast` uses
    OpenCV, without antialiasing below a scale of 2, and is near, not equal.

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
            box = self.box(frame.shape[1], frame.shape[0])
            if self.mode == "exact":
                self._exact(frame, box, out)
            else:
                self._fast(frame, box, out)
        except Exception as error:
            raise SourceError("preprocess", "resize_failed", f"{type(error).__name__}: {error}") from error

    def box(self, width: int, height: int) -> Box:
        """Return the part of a `width` x `height` frame that becomes the crop: left, top, right, bottom.

        Sizes and offsets are rounded as torchvision rounds them: `_compute_resized_output_size` and
        `center_crop` of torchvision/transforms/functional.py.
        """
        short, long = min(width, height), max(width, height)
        resized_long = int(self.resize * long / short)
        resized_width, resized_height = (
            (self.resize, resized_long) if width <= height else (resized_long, self.resize)
        )
        left, right = self._span(width, resized_width)
        top, bottom = self._span(height, resized_height)
        return left, top, right, bottom

    def _span(self, size: int, resized: int) -> tuple[float, float]:
        offset = int(round((resized - self.crop) / 2.0))  # noqa: RUF046 - torchvision's own expression
        return offset * size / resized, (offset + self.crop) * size / resized

    def _exact(self, frame: NDArray[np.uint8], box: Box, out: NDArray[np.uint8]) -> None:
        from PIL import Image

        # Pillow copies what it is given and keeps the box as float32, so give it no more than the filter
        # reaches; and in one piece, because it takes three times as long to copy rows with gaps.
        left, top, right, bottom = box
        x0, x1 = self._reach(left, right, frame.shape[1])
        y0, y1 = self._reach(top, bottom, frame.shape[0])
        image = Image.fromarray(np.ascontiguousarray(frame[y0:y1, x0:x1]))
        filter_ = Image.Resampling.BILINEAR if self.interpolation == "bilinear" else Image.Resampling.BICUBIC
        inner = (left - x0, top - y0, right - x0, bottom - y0)
        out[...] = np.asarray(image.resize((self.crop, self.crop), filter_, box=inner))

    def _reach(self, start: float, stop: float, size: int) -> tuple[int, int]:
        scale = max(1.0, (stop - start) / self.crop)
        margin = _SUPPORT[self.interpolation] * scale + 1
        return max(0, math.floor(start - margin)), min(size, math.ceil(stop + margin))

    def _fast(self, frame: NDArray[np.uint8], box: Box, out: NDArray[np.uint8]) -> None:
        import cv2

        left, top, right, bottom = (round(edge) for edge in box)
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        smaller = min(right - left, bottom - top) >= 2 * self.crop
        cv2.resize(
            frame[top:bottom, left:right],
            (self.crop, self.crop),
            dst=out,
            interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR,
        )
