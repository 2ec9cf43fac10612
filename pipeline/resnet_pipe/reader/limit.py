"""How large an image may be, checked from its header before anything is decoded."""

from __future__ import annotations

from resnet_pipe.errors import SourceError


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse images with no pixels, or too many.

    Raises:
        SourceError: `damaged` or `too_large`.
    """
    if width < 1 or height < 1:
        raise SourceError("reader", "damaged", f"its header says {width} x {height} pixels")
    if width * height > max_pixels:
        problem = f"{width} x {height} pixels: more than reader.max_pixels, {max_pixels}"
        raise SourceError("reader", "too_large", problem)
