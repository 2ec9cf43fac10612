"""Resize, then crop or pad: from a decoded frame of any size to the network's input."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import SourceError
from resnet_pipe.preprocess import resizing, shortest
from resnet_pipe.preprocess.network_input import Placement
from resnet_pipe.preprocess.resizing import Interpolation, Rounding

Fit = Literal["crop", "squash", "pad", "shortest"]
Mode = Literal["exact", "fast"]


def sides(size: int | tuple[int, int]) -> tuple[int, int]:
    """Return height and width of a size; a single number means a square."""
    return (size, size) if isinstance(size, int) else size


@dataclass(frozen=True)
class Geometry:
    """Brings an image to the size of the network's input, in one of four ways.

    `crop` resizes, the shorter side to `resize` or the image to exactly `resize`, and keeps the centre of
    that. `squash` resizes to the size of the input, ignoring the aspect ratio. `pad` resizes so that the
    image just fits inside, centred between margins: its sides are rounded to the nearest pixel, halves to
    even, and are at least 1; an odd margin is larger below or on the right. This is the letterbox of
    detectors, mostly filled with 114. `shortest` is for networks that take any size: the shorter side becomes
    `resize`, but the longer one `longest` at most, and both are filled up, below and on the right, to a
    multiple of `multiple`.

    `exact` gives what torchvision's `Resize(resize)` and `CenterCrop(crop)` give for a PIL image, or those of
    transformers, if the crop is rounded down: within one grey level at every pixel for bilinear, bit for bit
    for the others (nearly, where the resized image would have more than 2^24 pixels, such as a thin line);
    for the others, bit for bit what Pillow's `resize` gives. With `linear`, `shortest` gives float32, as
    torchvision's detectors do it, which do not round what they resize. `fast` lets readers shrink the image
    while decoding, and resizes with OpenCV: close, not equal, as measured in docs/images.md.

    Attributes:
        resize: for `crop`: shorter side after resizing, or height and width, pixels; for `shortest`: shorter
            side; None for the others.
        crop: height and width of the input, pixels, or the side of a square; with `crop` no larger than every
            resized image; None for `shortest`.
        interpolation: the filter of `exact`; `fast` chooses its own. For `shortest`, `linear` is torch's,
            without antialiasing.
        pad_value: of the margins of `pad`: a grey level, or red, green and blue.
        rounding: of the place of the crop; for `shortest`, whose sizes: torchvision's, or transformers'.
        longest: for `shortest`: the most that the longer side becomes, pixels.
        margin: for `shortest`: red, green and blue of what an image is filled up with, 0 to 255.

    Raises:
        ValueError: the crop may be larger than the resized image; or `resize` cannot be used with `fit`.
    """

    resize: int | tuple[int, int] | None
    crop: int | tuple[int, int] | None
    interpolation: Interpolation = "bilinear"
    mode: Mode = "exact"
    fit: Fit = "crop"
    pad_value: int | tuple[int, int, int] = 0
    rounding: Rounding = "even"
    longest: int | None = None
    multiple: int = 1
    margin: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if (self.resize is None) != (self.fit in ("squash", "pad")):
            raise ValueError(f"resize ({self.resize}) cannot be used with fit {self.fit}")
        if (self.crop is None, self.longest is not None) != (self.varies, self.varies):
            raise ValueError(f"crop ({self.crop}), longest ({self.longest}) do not go with fit {self.fit}")
        if self.varies:
            if not isinstance(self.resize, int) or self.resize > (self.longest or 0):
                raise ValueError(f"resize ({self.resize}) must be up to longest ({self.longest})")
            return
        limits = self.size if self.resize is None else sides(self.resize)
        if not all(1 <= side <= limit for side, limit in zip(self.size, limits, strict=True)):
            raise ValueError(f"crop ({self.crop}) must be from 1 to resize ({self.resize})")

    @property
    def varies(self) -> bool:
        """Whether the size of what `apply` writes is another one for images of another shape."""
        return self.fit == "shortest"

    @property
    def floats(self) -> bool:
        """Whether `apply` writes float32, and not uint8."""
        return self.varies and self.mode == "exact" and self.interpolation == "linear"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what `apply` writes, pixels; if they vary, none has more pixels than these."""
        if self.crop is not None:
            return sides(self.crop)
        return self.size_of(self.longest or 1, sides(self.resize or 1)[0])

    @property
    def other(self) -> tuple[int, int] | None:
        """Another height and width that `apply` writes, which are those of a tall image, if they vary."""
        return self.size_of(-(-sides(self.resize or 1)[0] // 2), self.longest or 1) if self.varies else None

    def size_of(self, width: int, height: int) -> tuple[int, int]:
        """Return height and width of what `apply` writes for an image of a size, pixels."""
        if not self.varies:
            return self.size
        across, down = self._resized(width, height)
        return shortest.padded(down, self.multiple), shortest.padded(across, self.multiple)

    def placement(self, width: int, height: int) -> Placement:
        """Return where `apply` places an image of a size, which is that of the source as it is displayed."""
        resized = self._resized(width, height)
        return Placement(width, height, *self._corner(resized), *resized)

    @property
    def min_side(self) -> int | None:
        """Least length of the shorter side when a reader shrinks while decoding, pixels; None: no shrinking.

        Neither side gets shorter than what it is resized to. If both sides are given, either may be
        the shorter one of the image; where the image is to fit inside, its shorter side becomes no longer
        than that of the input.
        """
        if self.mode == "exact":
            return None
        needed = min(self.size) if self.fit == "pad" else max(sides(self.resize or self.size))
        return math.ceil(needed * resizing.MARGIN)

    def load(self) -> None:
        """Import what `apply` needs, before any source is charged for it, or raise `ImportError`."""
        import cv2  # noqa: F401
        from PIL import Image  # noqa: F401

    def apply(
        self,
        frame: NDArray[np.uint8],
        out: NDArray[Any],
        extent: tuple[float, float] | None = None,
        placement: Placement | None = None,
    ) -> None:
        """Resize `frame` to the size of the input, and write it into `out`.

        The frame is uint8, `out` uint8, or float32 if that is what `floats` says; both have shape (H, W, 3),
        RGB; `out` has `size_of` the image, and is contiguous, such as one row of a batch. `extent` is
        `Item.extent` of a frame that a reader has shrunk to `min_side`, and the placement is that of its
        source; without one, the frame has the size of the source.

        Raises:
            SourceError: the frame is not of that type, or cannot be resized.
        """
        if not is_picture(frame):
            raise SourceError("preprocess", "bad_frame", f"a frame of {frame.dtype} {frame.shape} is not RGB")
        extent = extent or (frame.shape[1], frame.shape[0])
        try:
            if self.varies:
                found = placement or self.placement(frame.shape[1], frame.shape[0])
                self._fill_up(frame, extent, out, (found.inner_width, found.inner_height))
            elif self.mode == "exact":
                resized = self._resized(frame.shape[1], frame.shape[0])
                part = self._inside(resized, out)
                resizing.exact(frame, resized, part, self.interpolation, self.rounding)
            else:
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
            return sides(self.resize or self.size)[::-1]
        if self.longest is not None:
            rule = shortest.of_transformers if self.rounding == "down" else shortest.resized
            return rule(width, height, self.resize, self.longest)
        if width <= height:  # torchvision's `_compute_resized_output_size`
            return self.resize, int(self.resize * height / width)
        return int(self.resize * width / height), self.resize

    def _corner(self, resized: tuple[int, int]) -> tuple[int, int]:
        """Return how far to the right and below its own the input has the corner of a resized image."""
        (width, height), (down, across) = resized, self.size
        if self.fit == "pad":
            return (across - width) // 2, (down - height) // 2
        if self.fit != "crop":
            return 0, 0
        columns, rows = (resizing.middle(*side, self.rounding) for side in ((width, across), (height, down)))
        return -columns.start, -rows.start

    def _inside(self, resized: tuple[int, int], out: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the part of `out` that the image fills, after filling the margins around it."""
        if self.fit != "pad":
            return out
        out[...] = self.pad_value
        (width, height), (left, top) = resized, self._corner(resized)
        return out[top : top + height, left : left + width]

    def _fill_up(
        self, frame: NDArray[np.uint8], extent: tuple[float, float], out: NDArray[Any], size: tuple[int, int]
    ) -> None:
        """Write the image, resized to a width and a height, into the corner of `out`, and fill the rest."""
        width, height = size
        part = out[:height, :width]
        colour: Any = self.margin
        if self.floats:
            shortest.exact(frame, part)
        else:
            colour = np.clip(np.round(self.margin), 0, 255).astype(np.uint8)
            if self.interpolation == "linear":
                shortest.fast(frame, extent, part)
            elif self.mode == "exact":
                resizing.exact(frame, size, part, self.interpolation, self.rounding)
            else:
                resizing.fast(frame, extent, size, part, True, self.rounding)
        out[:height, width:] = colour
        out[height:] = colour


def is_picture(frame: NDArray[Any]) -> bool:
    """Tell whether a frame is uint8, shape (H, W, 3), and has pixels."""
    return frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3 and 0 not in frame.shape
