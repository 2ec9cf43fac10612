"""Resize and crop: a decoded frame of any size becomes the square of pixels that the network sees."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import SourceError

_SUPPORT = {"bilinear": 1, "bicubic": 2}
"""Reach of Pillow's filters to either side, in source pixels (times the scale when it makes smaller)."""
_WHOLE = 1 << 24
"""Pixels of the largest image that is resized as a whole: 1 x 10000 would become gigabytes."""


class _Side(NamedTuple):
    """What to do with the width or the height of a frame.

    Attributes:
        pixels: of the frame: all that the filter looks at.
        start: where the part to resize begins within `pixels`.
        stop: where it ends.
        resized: its size after resizing.
        kept: the crop's part of that.
    """

    pixels: slice
    start: float
    stop: float
    resized: int
    kept: slice


@dataclass(frozen=True)
class Geometry:
    """Resize the shorter side to `resize`, then cut the central `crop` x `crop` pixels.

    `exact` gives what torchvision's `Resize(resize)` and `CenterCrop(crop)` give for a PIL image: within one
    grey level at every pixel for bilinear, bit for bit for bicubic (nearly, for a line so thin that the
    resized image would have more than 2^24 pixels). `fast` uses OpenCV, without antialiasing below a scale of
    2, and is near, not equal.

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

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """Return the size of the whole image after resizing: torchvision's `_compute_resized_output_size`."""
        if width <= height:
            return self.resize, int(self.resize * height / width)
        return int(self.resize * width / height), self.resize

    def _kept(self, resized: int) -> slice:
        """Return the crop's part of a resized side: torchvision's `center_crop`."""
        offset = int(round((resized - self.crop) / 2.0))  # noqa: RUF046 - to the letter
        return slice(offset, offset + self.crop)

    def _span(self, size: int, resized: int) -> tuple[float, float]:
        """Return the part of a side, in source pixels, that becomes the crop when the side is resized."""
        kept = self._kept(resized)
        return kept.start * size / resized, kept.stop * size / resized

    def _exact(self, frame: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        """Resize only what the crop keeps, where that cannot change a pixel by more than one level.

        Pillow resizes one side, rounds, then resizes the other. It keeps the edges of a box as float32, often
        too coarse to round a tie as it does for the whole image. With one side exact, that makes one level at
        most, because the weights of bilinear only average. Those of bicubic do not, and what it clips depends
        on which side came first, which Pillow (from 13) decides by size: bicubic needs the whole image.
        """
        from PIL import Image

        height, width = frame.shape[:2]
        resized_width, resized_height = self._resized(width, height)
        bicubic = self.interpolation == "bicubic"
        whole = bicubic and resized_width * resized_height <= _WHOLE
        across = self._side(width, resized_width, whole, exact=width <= height)
        down = self._side(height, resized_height, whole, exact=width > height)
        # In one piece, because Pillow takes three times as long to copy rows with gaps between them.
        image = Image.fromarray(np.ascontiguousarray(frame[down.pixels, across.pixels]))
        resized = image.resize(
            (across.resized, down.resized),
            Image.Resampling.BICUBIC if bicubic else Image.Resampling.BILINEAR,
            box=(across.start, down.start, across.stop, down.stop),
        )
        out[...] = np.asarray(resized)[down.kept, across.kept]

    def _side(self, size: int, resized: int, whole: bool, exact: bool) -> _Side:
        """Return the least of a side to resize; if `exact`, the least that equals resizing all of it."""
        start, stop = self._span(size, resized)
        if whole or (exact and not (_is_float32(start) and _is_float32(stop))):
            return _Side(slice(None), 0, size, resized, self._kept(resized))
        margin = _SUPPORT[self.interpolation] * max(1.0, size / resized) + 1
        first, last = max(0, math.floor(start - margin)), min(size, math.ceil(stop + margin))
        return _Side(slice(first, last), start - first, stop - first, self.crop, slice(None))

    def _fast(self, frame: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        import cv2

        height, width = frame.shape[:2]
        resized_width, resized_height = self._resized(width, height)
        left, right = _whole_pixels(self._span(width, resized_width))
        top, bottom = _whole_pixels(self._span(height, resized_height))
        smaller = min(right - left, bottom - top) >= 2 * self.crop
        cv2.resize(
            frame[top:bottom, left:right],
            (self.crop, self.crop),
            dst=out,
            interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR,
        )


def _is_float32(value: float) -> bool:
    return float(np.float32(value)) == value


def _whole_pixels(span: tuple[float, float]) -> tuple[int, int]:
    start, stop = map(round, span)
    return start, max(stop, start + 1)
