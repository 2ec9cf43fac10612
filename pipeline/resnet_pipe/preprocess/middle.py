"""The centre of a side, as torchvision crops it."""

from __future__ import annotations


def middle(size: int, kept: int) -> slice:
    """Return the `kept` pixels in the middle of `size`: torchvision's `center_crop`."""
    offset = int(round((size - kept) / 2.0))  # noqa: RUF046 - to the letter
    return slice(offset, offset + kept)
