"""Resizing the part of an image that is kept: exactly as Pillow does all of it, or fast, with OpenCV."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Interpolation = Literal["bilinear", "bicubic", "lanczos", "nearest", "linear"]
"""Pillow's filters, and OpenCV's `linear`, which reads four pixels of the source for each new one.

When they shrink an image, the others but `nearest` take in every pixel of the source.
"""
Rounding = Literal["even", "down"]
"""Of the first pixel of a crop that cannot be in the exact middle: halves to even, as torchvision does it, or
down, as transformers does."""
_SUPPORT = {"bilinear": 1, "bicubic": 2, "lanczos": 3, "nearest": 1}
"""Reach of the filters to either side, in source pixels (times the scale when downscaling)."""
_WHOLE = 1 << 24
"""Pixels of the largest image that is resized as a whole: 1 x 10000 could become gigabytes."""
FAST = "fast 2"
"""How `fast` appears in a fingerprint; the number changes when its pixels do."""
MARGIN = 1.125
"""For `fast`, readers may shrink a frame to this many times the needed size. They make sharper pixels
than `exact`, more so with less left to resize: with 1, the mean error is 2.1 grey levels instead of 1.0."""
_ALIGNED = 16
"""Resized pixels before the kept ones, searched for one that starts at a pixel boundary of the frame."""


def middle(size: int, kept: int, rounding: Rounding) -> slice:
    """Return the `kept` pixels in the middle of `size`."""
    offset = (size - kept) // 2 if rounding == "down" else round((size - kept) / 2)
    return slice(offset, offset + kept)


class _ExactSide(NamedTuple):
    """What to do with the width or the height of a frame.

    The filter reads its `pixels`; what is between `start` and `stop` in these is resized to `resized` pixels,
    of which `kept` are used.
    """

    pixels: slice
    start: float
    stop: float
    resized: int
    kept: slice


def exact(
    frame: NDArray[np.uint8],
    resized: tuple[int, int],
    out: NDArray[np.uint8],
    interpolation: Interpolation,
    rounding: Rounding,
) -> None:
    """Resize only what is kept, where that cannot change a pixel by more than one level.

    Pillow resizes one side, rounds, then resizes the other. It keeps the edges of a box as float32, often too
    coarse to round a tie as it does for the whole image. With one side exact, that makes one level at most,
    because the weights of bilinear only average. Those of bicubic and lanczos do not, and what they clip
    depends on which side came first, which Pillow (from 13) decides by size: they need the whole image, and
    so does nearest, which takes another pixel when its box starts a little elsewhere.

    `resized` is width and height of the whole image after resizing. `out` is no larger, and receives its
    centre; like `frame`, it is uint8, shape (H, W, 3), RGB.
    """
    from PIL import Image

    if interpolation == "linear":
        _linear(frame, resized, out)
        return
    height, width = frame.shape[:2]
    whole = interpolation != "bilinear" and resized[0] * resized[1] <= _WHOLE
    support = _SUPPORT[interpolation]
    across, down = (middle(*side, rounding) for side in zip(resized, out.shape[1::-1], strict=True))
    columns = _exact_side(width, resized[0], across, support, whole, exact=width <= height)
    rows = _exact_side(height, resized[1], down, support, whole, exact=width > height)
    # In one piece, because Pillow takes three times as long to copy rows with gaps between them.
    image = Image.fromarray(np.ascontiguousarray(frame[rows.pixels, columns.pixels])).resize(
        (columns.resized, rows.resized),
        Image.Resampling[interpolation.upper()],
        box=(columns.start, rows.start, columns.stop, rows.stop),
    )
    out[...] = np.asarray(image)[rows.kept, columns.kept]


def _linear(frame: NDArray[np.uint8], resized: tuple[int, int], out: NDArray[np.uint8]) -> None:
    """Resize all of a frame to what `out` holds, with OpenCV's linear interpolation."""
    import cv2

    out[...] = frame if frame.shape[1::-1] == resized else cv2.resize(frame, resized)


def _exact_side(size: int, resized: int, place: slice, support: int, whole: bool, exact: bool) -> _ExactSide:
    """Return the smallest part of a side to resize; if `exact`, one that gives the same as all of it."""
    start, stop = place.start * size / resized, place.stop * size / resized
    rounded = any(float(np.float32(edge)) != edge for edge in (start, stop))
    if whole or (exact and rounded):
        return _ExactSide(slice(None), 0, size, resized, place)
    margin = support * max(1.0, size / resized) + 1
    first, last = max(0, math.floor(start - margin)), min(size, math.ceil(stop + margin))
    return _ExactSide(slice(first, last), start - first, stop - first, place.stop - place.start, slice(None))


def fast(
    frame: NDArray[np.uint8],
    extent: tuple[float, float],
    resized: tuple[int, int],
    out: NDArray[np.uint8],
    one_scale: bool,
    rounding: Rounding,
) -> None:
    """Halve the kept part, then smooth it and resize it with linear interpolation; close to `exact`.

    The filter of `exact`, a triangle that reaches `scale` pixels to either side, has a variance of scale^2 /
    6; linear interpolation is the one of 1 / 6. Smoothing by (w, 1 - 2w, w), whose variance is 2w, makes up
    for the rest.

    `frame`, `resized` and `out` are as of `exact`; `extent` is width and height of the image in pixels of
    the frame. With `one_scale` it keeps its shape: the scales of its sides differ only by rounding, and
    notably only where it becomes a few pixels.
    """
    import cv2

    height, width = out.shape[:2]
    columns, across, left = _fast_side(
        frame.shape[1], extent[0], resized[0], middle(resized[0], width, rounding)
    )
    rows, down, top = _fast_side(frame.shape[0], extent[1], resized[1], middle(resized[1], height, rounding))
    part: Any = frame[rows, columns]
    scales = np.array([across, down])
    if one_scale:
        scales[:] = scales.min()
    halved = np.array([1, 1])
    while (scales >= 2 * MARGIN).any():
        by = np.where(scales >= 2 * MARGIN, 2, 1)
        wide, high = part.shape[1::-1] // by * by
        fx, fy = 1 / by
        part = cv2.resize(part[:high, :wide], None, fx=fx, fy=fy, interpolation=cv2.INTER_AREA)
        scales, halved = scales / by, halved * by
    if (scales > 1).any():
        weights = (np.maximum(scales, 1) ** 2 - 1) / 12
        x, y = (np.array([weight, 1 - 2 * weight, weight]) for weight in weights)
        part = cv2.sepFilter2D(part, -1, x, y, borderType=cv2.BORDER_REPLICATE)
    right, bottom = (int(by > 1) for by in halved)  # an odd column or row may have been lost
    if right or bottom:
        part = cv2.copyMakeBorder(part, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    # With a size instead of factors, OpenCV would work out other ones.
    image = cv2.resize(part, None, fx=halved[0] / across, fy=halved[1] / down)
    top = min(top, image.shape[0] - height)
    left = min(left, image.shape[1] - width)
    out[...] = image[top : top + height, left : left + width]


def _fast_side(pixels: int, extent: float, resized: int, place: slice) -> tuple[slice, float, int]:
    """Return the smallest part of a side to resize, which starts at a pixel boundary of both images.

    Returns also how many of its pixels become one, and how many resized ones come before the kept ones.
    """
    scale = extent / resized
    reach = _ALIGNED + math.ceil(1 / scale)
    first = min(
        range(max(0, place.start - reach), place.start + 1),
        key=lambda start: abs(start * scale - round(start * scale)),
    )
    stop = min(pixels, math.ceil((place.stop + 1) * scale))
    return slice(round(first * scale), stop), scale, place.start - first
