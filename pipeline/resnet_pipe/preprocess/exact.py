"""Resizing with Pillow, limited to the pixels that are kept; the result is that for the whole image."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Interpolation = Literal["bilinear", "bicubic", "lanczos", "nearest"]
"""Pillow's filters. All but `nearest` take in every pixel of the source when they shrink an image."""
_SUPPORT = {"bilinear": 1, "bicubic": 2, "lanczos": 3, "nearest": 1}
"""Reach of the filters to either side, in source pixels (times the scale when downscaling)."""
_WHOLE = 1 << 24
"""Pixels of the largest image that is resized as a whole: 1 x 10000 could become gigabytes."""


Rounding = Literal["even", "down"]
"""Of the first pixel of a crop that cannot be in the exact middle: halves to even, as torchvision does it, or
down, as transformers does."""


def middle(size: int, kept: int, rounding: Rounding) -> slice:
    """Return the `kept` pixels in the middle of `size`."""
    offset = (size - kept) // 2 if rounding == "down" else round((size - kept) / 2)
    return slice(offset, offset + kept)


class _Side(NamedTuple):
    """What to do with the width or the height of a frame.

    The filter reads its `pixels`; what is between `start` and `stop` in these is resized to `resized` pixels,
    of which `kept` are used.
    """

    pixels: slice
    start: float
    stop: float
    resized: int
    kept: slice


def resize(
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

    height, width = frame.shape[:2]
    whole = interpolation != "bilinear" and resized[0] * resized[1] <= _WHOLE
    support = _SUPPORT[interpolation]
    across, down = (middle(*side, rounding) for side in zip(resized, out.shape[1::-1], strict=True))
    columns = _side(width, resized[0], across, support, whole, exact=width <= height)
    rows = _side(height, resized[1], down, support, whole, exact=width > height)
    # In one piece, because Pillow takes three times as long to copy rows with gaps between them.
    image = Image.fromarray(np.ascontiguousarray(frame[rows.pixels, columns.pixels])).resize(
        (columns.resized, rows.resized),
        Image.Resampling[interpolation.upper()],
        box=(columns.start, rows.start, columns.stop, rows.stop),
    )
    out[...] = np.asarray(image)[rows.kept, columns.kept]


def _side(size: int, resized: int, place: slice, support: int, whole: bool, exact: bool) -> _Side:
    """Return the smallest part of a side to resize; if `exact`, one that gives the same as all of it."""
    start, stop = place.start * size / resized, place.stop * size / resized
    if whole or (exact and not (_is_float32(start) and _is_float32(stop))):
        return _Side(slice(None), 0, size, resized, place)
    margin = support * max(1.0, size / resized) + 1
    first, last = max(0, math.floor(start - margin)), min(size, math.ceil(stop + margin))
    return _Side(slice(first, last), start - first, stop - first, place.stop - place.start, slice(None))


def _is_float32(value: float) -> bool:
    return float(np.float32(value)) == value
