"""How large an image or a frame may be, checked from its header before anything is decoded."""

from __future__ import annotations

from resnet_pipe.errors import SourceError


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse images of no pixels, as `damaged`, or of too many, as `too_large`; raises `SourceError`."""
    if width < 1 or height < 1:
        raise SourceError("reader", "damaged", f"it says that it is {width} x {height} pixels")
    check_pixels(width, height, max_pixels)


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Refuse frames of too many pixels as `too_large`: a `SourceError`.

    None are not refused: a video may not say its size before decoding.
    """
    if width * height > max_pixels:
        problem = f"{width} x {height} pixels: more than reader.max_pixels, {max_pixels}"
        raise SourceError("reader", "too_large", problem)
