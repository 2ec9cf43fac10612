"""What an engine must know of the preprocessing: the rest has been done when a batch comes to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from numpy.typing import NDArray

Pixels = NDArray[Any]
"""Items as engines take them: shape (n, H, W, 3), RGB, 0 to 255, uint8; float32 if `NetworkInput.floats`."""


@dataclass(frozen=True)
class NetworkInput:
    """What the network is given for an image: (value / 255 - mean) / std per channel.

    Batches are RGB, 0 to 255; `color` is the order of the network's channels, and so of `mean` and `std`.
    Plain data, so that the process of an engine needs nothing of what checks jobs and sidecars.

    Attributes:
        size: height and width in pixels; where items have many sizes, of one that no other is wider than, or
            has more pixels.
        other: another size that items may have; None if all have the same.
        floats: whether pixels come as float32, and not as uint8.
        shape: of an item of a second network, whose input is no image but what a first one gave: float32, and
            taken as it is. None for images.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    color: Literal["rgb", "bgr"] = "rgb"
    other: tuple[int, int] | None = None
    floats: bool = False
    shape: tuple[int, ...] | None = None


class Placement(NamedTuple):
    """Where the image of an item lies in the network's input, and how large its source is, all in pixels.

    Attributes:
        width: of the source, as it is displayed.
        height: of the source.
        left: from the left edge of the network's input to that of the whole image after resizing, whose right
            edge is `inner_width` farther. Negative where a crop has left something out.
        top: from the top edge of the input to that of the image.
        inner_width: of the image after resizing.
        inner_height: of the image after resizing.
    """

    width: int
    height: int
    left: int
    top: int
    inner_width: int
    inner_height: int
