"""Resizing for networks that take any size: the shorter side to a length, the longer to another at most."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BAND_PIXELS = 1 << 15
"""Pixels of the frame whose rows are worked on at a time: few enough for the caches of a core."""


def resized(width: float, height: float, shorter: int, longest: int) -> tuple[int, int]:
    """Return width and height of an image after resizing, at least 1: torchvision's, to the pixel.

    Its detectors multiply in double precision and round down, so that 799.9999999999999 becomes 799; see
    `torchvision.models.detection.transform` and, for `recompute_scale_factor`, `torch.nn.functional`.
    """
    scale = min(shorter / min(width, height), longest / max(width, height))
    return max(1, int(width * scale)), max(1, int(height * scale))


def of_transformers(width: float, height: float, shorter: int, longest: int) -> tuple[int, int]:
    """Return width and height of an image after resizing, at least 1: transformers', to the pixel.

    Where the longer side would be too long, DETR's processors round the shorter one to the nearest, halves to
    even; see `transformers.image_transforms.get_size_with_aspect_ratio`.
    """
    least, most = float(min(width, height)), float(max(width, height))
    short, exactly = shorter, float(shorter)
    if most / least * shorter > longest:
        exactly = longest * least / most
        short = round(exactly)
    if least == short:
        return round(width), round(height)
    if width < height:
        return max(1, short), max(1, int(exactly * height / width))
    return max(1, int(exactly * width / height)), max(1, short)


def padded(side: int, multiple: int) -> int:
    """Return the next multiple that is not smaller than a side."""
    return -(-side // multiple) * multiple


def exact(frame: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """Resize `frame`, uint8, (H, W, 3), to the shape of `out`, float32: bilinear, without antialiasing.

    It is what `torch.nn.functional.interpolate` gives for the size of `out`, within 1e-4 of a grey level.
    OpenCV's `resize` is not: it keeps more digits of the places between pixels than torch.
    """
    height, width = out.shape[:2]
    left, right, across = _side(frame.shape[1], width)
    top, bottom, down = _side(frame.shape[0], height)
    band = max(1, _BAND_PIXELS // frame.shape[1])
    steps = np.repeat(across, 3)  # the channels of a row, one after the other: long rows are fast
    for start in range(0, height, band):
        some = slice(start, start + band)
        above = frame[top[some]].astype(np.float32)
        rows = frame[bottom[some]] - above
        rows *= down[some, np.newaxis, np.newaxis]
        rows += above
        before, part = (rows.take(columns, axis=1).reshape(len(rows), -1) for columns in (left, right))
        part -= before
        part *= steps
        part += before
        out[some] = part.reshape(len(rows), width, 3)


def _side(pixels: int, resized: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return, for each pixel of a resized side, the two that it lies between, and its way to the second.

    Torch computes the place in float32, in one fused operation, so that it is rounded once.
    """
    scale = float(np.float32(pixels) / np.float32(resized))
    places = np.maximum((scale * (np.arange(resized) + 0.5) - 0.5).astype(np.float32), np.float32(0))
    first = np.minimum(places.astype(np.intp), pixels - 1)
    return first, np.minimum(first + 1, pixels - 1), np.minimum(places - first.astype(np.float32), 1)


def fast(
    frame: NDArray[np.uint8],
    extent: tuple[float, float],
    out: NDArray[np.uint8],
) -> None:
    """Resize `frame` to the shape of `out` with OpenCV's linear interpolation: close to `exact`.

    `extent` is width and height of the image in pixels of the frame.
    """
    import cv2

    height, width = out.shape[:2]
    if extent == frame.shape[1::-1]:
        out[...] = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
        return
    # With a size instead of factors, OpenCV would work out other ones.
    image = cv2.resize(frame, None, fx=width / extent[0], fy=height / extent[1])
    out[...] = image[:height, :width]


def margin(mean: tuple[float, ...]) -> tuple[float, float, float]:
    """Return the colour, for levels of 0 to 255, that becomes 0 when the mean is subtracted, per channel."""
    red, green, blue = (_level(np.float32(value)) for value in mean)
    return red, green, blue


def _level(mean: np.float32) -> float:
    """Return the float32 that, divided by 255, is nearest to a mean."""
    near = mean * np.float32(255)
    others = (np.nextafter(near, np.float32(edge)) for edge in (-np.inf, np.inf))
    return float(min((near, *others), key=lambda level: abs(level / np.float32(255) - mean)))
