"""Resize, then crop or pad: from a decoded frame of any size to the network's input."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import SourceError
from resnet_pipe.preprocess import resizing
from resnet_pipe.preprocess.resizing import Interpolation, Rounding

Fit = Literal["crop", "squash", "pad"]
Mode = Literal["exact", "fast"]


def sides(size: int | tuple[int, int]) -> tuple[int, int]:
    """Return height and width of a size; a single number means a square."""
    return (size, size) if isinstance(size, int) else size


@dataclass(frozen=True)
class Geometry:
    """Brings an image to the size of the network's input, in one of three ways.

    `crop` resizes, the shorter side to `resize` or the image to exactly `resize`, and keeps the centre of
    that. `squash` resizes to the size of the input, ignoring the aspect ratio. `pad` resizes so that the
    image just fits inside, centred between margins: its sides are rounded to the nearest pixel, halves to
    even, and are at least 1; an odd margin is larger below or on the right. This is the letterbox of
    detectors, mostly filled with 114.

    `exact` gives what torchvision's `Resize(resize)` and `CenterCrop(crop)` give for a PIL image, or those of
    transformers, if the crop is rounded down: within one grey level at every pixel for bilinear, bit for bit
    for the others (nearly, where the resized image would have more than 2^24 pixels, such as a thin line);
    for `squash` and `pad`, bit for bit what Pillow's `resize` gives. `fast` lets readers shrink the image
    while decoding, and resizes with OpenCV: close, not equal, as measured in docs/images.md.

    Attributes:
        resize: for `crop`: shorter side after resizing, or height and width, pixels; None for the others.
        crop: height and width of the input, pixels, or the side of a square; with `crop` no larger than every
            resized image.
        interpolation: the filter of `exact`; `fast` chooses its own.
        pad_value: of the margins of `pad`: a grey level, or red, green and blue.
        rounding: of the place of the crop.

    Raises:
        ValueError: the crop may be larger than the resized image; or `resize` cannot be used with `fit`.
    """

    resize: int | tuple[int, int] | None
    crop: int | tuple[int, int]
    interpolation: Interpolation = "bilinear"
    mode: Mode = "exact"
    fit: Fit = "crop"
    pad_value: int | tuple[int, int, int] = 0
    rounding: Rounding = "even"

    def __post_init__(self) -> None:
        if (self.resize is None) != (self.fit != "crop"):
            raise ValueError(f"resize ({self.resize}) cannot be used with fit {self.fit}")
        limits = self.size if self.resize is None else sides(self.resize)
        if not all(1 <= side <= limit for side, limit in zip(self.size, limits, strict=True)):
            raise ValueError(f"crop ({self.crop}) must be from 1 to resize ({self.resize})")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what `apply` writes, pixels."""
        return sides(self.crop)

    @property
    def min_side(self) -> int | None:
        """Least length of the shorter side when a reader shrinks while decoding, pixels; None: no shrinking.

        Neither side gets shorter than what it is resized to. If both sides are given, either may be
        the shorter one of the image; where the image is to fit inside, its shorter side becomes no longer
        than that of the input.
        """
        if self.mode == "exact":
            return None
        needed = min(self.size) if self.fit == "pad" else max(sides(self.resize or self.crop))
        return math.ceil(needed * resizing.MARGIN)

    def load(self) -> None:
        """Import what `apply` needs, before any source is charged for it, or raise `ImportError`."""
        import cv2  # noqa: F401
        from PIL import Image  # noqa: F401

    def apply(
        self, frame: NDArray[np.uint8], out: NDArray[np.uint8], extent: tuple[float, float] | None = None
    ) -> None:
        """Resize `frame` to the size of the input, and write it into `out`.

        Both are uint8, shape (H, W, 3), RGB; `out` has `size`, and is contiguous, such as one row of a batch.
        `extent` is `Item.extent` of a frame that a reader has shrunk to `min_side`.

        Raises:
            SourceError: the frame is not of that type, or cannot be resized.
        """
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
            raise SourceError("preprocess", "bad_frame", f"a frame of {frame.dtype} {frame.shape} is not RGB")
        try:
            if self.mode == "exact":
                resized = self._resized(frame.shape[1], frame.shape[0])
                part = self._inside(resized, out)
                resizing.exact(frame, resized, part, self.interpolation, self.rounding)
            else:
                extent = extent or (frame.shape[1], frame.shape[0])
                resized = self._resized(*extent)
                one_scale = self.fit == "pad" or isinstance(self.resize, int)
                part = self._inside(resized, out)
                resizing.fast(frame, extent, resized, part, one_scale, self.rounding)
        except (MemoryError, ImportError):
            raise
        except Exception as error:
            raise SourceError("preprocess", "resize_failed", f"{type(error).__name__}: {error}") from error

    def _resized(self, width: float, height: float) -> tuple[int, int]:
        """Return width and height of the whole image after resizing."""
        if self.fit == "pad":  # https://github.com/ultralytics/ultralytics, LetterBox
            scale = min(self.size[0] / height, self.size[1] / width)
            return max(1, round(width * scale)), max(1, round(height * scale))
        if not isinstance(self.resize, int):
            return sides(self.resize or self.crop)[::-1]
        if width <= height:  # torchvision's `_compute_resized_output_size`
            return self.resize, int(self.resize * height / width)
        return int(self.resize * width / height), self.resize

    def _inside(self, resized: tuple[int, int], out: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the part of `out` that the image fills, after filling the margins around it."""
        if self.fit != "pad":
            return out
        out[...] = self.pad_value
        (width, height), (down, across) = resized, self.size
        top, left = (down - height) // 2, (across - width) // 2
        return out[top : top + height, left : left + width]
