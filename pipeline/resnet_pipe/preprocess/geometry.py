"""Resize and crop: a decoded frame of any size becomes the square of pixels that the network sees."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import SourceError

FAST = "fast 2"
"""What `fast` is in a fingerprint: its number changes when its pixels do."""
_SUPPORT = {"bilinear": 1, "bicubic": 2}
"""Reach of Pillow's filters to either side, in source pixels (times the scale when it makes smaller)."""
_WHOLE = 1 << 24
"""Pixels of the largest image that is resized as a whole: 1 x 10000 would become gigabytes."""
_MARGIN = 1.125
"""Readers may shrink a frame to so much more than is needed. They make sharper pixels than the filter of
`exact`, and with less left to do they stay so: at 1, off by 2.1 grey levels on average, not by 1.0."""
_ALIGNED = 16
"""Resized pixels before the crop, among which one is sought that begins where a pixel of the frame does."""


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


class _FastSide(NamedTuple):
    """What `fast` does with the width or the height of a frame.

    Attributes:
        pixels: of the frame: the part to resize.
        scale: pixels of the frame for one resized pixel.
        offset: resized pixels before the crop.
    """

    pixels: slice
    scale: float
    offset: int


@dataclass(frozen=True)
class Geometry:
    """Resize the shorter side to `resize`, then cut the central `crop` x `crop` pixels.

    `exact` gives what torchvision's `Resize(resize)` and `CenterCrop(crop)` give for a PIL image: within one
    grey level at every pixel for bilinear, bit for bit for bicubic (nearly, for a line so thin that the
    resized image would have more than 2^24 pixels). `fast` lets readers shrink the image while they decode,
    and resizes with OpenCV: near, not equal. Measured with resize 256 and crop 224 on six photographs of
    scikit-image, as JPEGs of quality 90 whose shorter side has 300 to 3500 pixels: the mean difference from
    `exact` is 0.3 to 1.0 grey levels, depending on the size, and at most 1.9 for one photograph; the largest
    at any pixel is 35. The cosine similarity of ResNet-18's features (random calibrated weights) is 0.9990 or
    better.

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
        return math.ceil(self.resize * _MARGIN) if self.mode == "fast" else None

    def load(self) -> None:
        """Import what `apply` needs, before any source is charged for it.

        Raises:
            ImportError: it cannot be imported.
        """
        import cv2  # noqa: F401
        from PIL import Image  # noqa: F401

    def apply(
        self, frame: NDArray[np.uint8], out: NDArray[np.uint8], extent: tuple[float, float] | None = None
    ) -> None:
        """Write the crop of `frame` into `out`.

        Args:
            frame: uint8, shape (H, W, 3), RGB.
            out: uint8, shape (crop, crop, 3), contiguous, such as one row of a batch.
            extent: of a frame that a reader has shrunk to `min_side`: width and height of the image in its
                pixels, if the last column or row is only partly covered.

        Raises:
            SourceError: the frame is not of that type, or cannot be resized.
        """
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
            raise SourceError("preprocess", "bad_frame", f"a frame of {frame.dtype} {frame.shape} is not RGB")
        try:
            if self.mode == "exact":
                self._exact(frame, out)
            else:
                self._fast(frame, out, extent or frame.shape[1::-1])
        except (MemoryError, ImportError):
            raise
        except Exception as error:
            raise SourceError("preprocess", "resize_failed", f"{type(error).__name__}: {error}") from error

    def _resized(self, width: float, height: float) -> tuple[int, int]:
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

    def _fast(self, frame: NDArray[np.uint8], out: NDArray[np.uint8], extent: tuple[float, float]) -> None:
        """Halve what the crop keeps, then resize it with linear interpolation after the smoothing this lacks.

        The filter of `exact`, a triangle that reaches `scale` pixels to either side, has a variance of
        scale^2 / 6; linear interpolation is the one of 1 / 6. Smoothing by (w, 1 - 2w, w), whose variance is
        2w, makes up for the rest.
        """
        import cv2

        height, width = frame.shape[:2]
        resized_width, resized_height = self._resized(*extent)
        across = self._fast_side(width, extent[0], resized_width)
        down = self._fast_side(height, extent[1], resized_height)
        part: Any = frame[down.pixels, across.pixels]
        scale = min(across.scale, down.scale)  # they differ only where the resized image is a few pixels
        halved = 1
        while scale >= 2 * _MARGIN:
            part = cv2.resize(_even(part), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            scale, halved = scale / 2, halved * 2
        if scale > 1:
            weight = (scale**2 - 1) / 12
            kernel = np.array([weight, 1 - 2 * weight, weight])
            part = cv2.sepFilter2D(part, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
        if halved > 1:  # an odd column or row may have been lost
            part = cv2.copyMakeBorder(part, 0, 1, 0, 1, cv2.BORDER_REPLICATE)
        # With a size instead of factors, OpenCV would work out other ones.
        resized = cv2.resize(part, None, fx=halved / across.scale, fy=halved / down.scale)
        top = min(down.offset, resized.shape[0] - self.crop)
        left = min(across.offset, resized.shape[1] - self.crop)
        out[...] = resized[top : top + self.crop, left : left + self.crop]

    def _fast_side(self, pixels: int, extent: float, resized: int) -> _FastSide:
        """Return the least of a side to resize; OpenCV can only begin at a whole pixel, of both images."""
        kept, scale = self._kept(resized), extent / resized
        reach = _ALIGNED + math.ceil(1 / scale)
        first = min(
            range(max(0, kept.start - reach), kept.start + 1),
            key=lambda start: abs(start * scale - round(start * scale)),
        )
        stop = min(pixels, math.ceil((kept.stop + 1) * scale))
        return _FastSide(slice(round(first * scale), stop), scale, kept.start - first)


def _even(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    return image[: height // 2 * 2, : width // 2 * 2]


def _is_float32(value: float) -> bool:
    return float(np.float32(value)) == value
