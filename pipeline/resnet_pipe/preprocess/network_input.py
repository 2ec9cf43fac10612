"""What an engine must know of the preprocessing: the rest has been done when a batch comes to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class NetworkInput:
    """What the network is given for an image: (value / 255 - mean) / std per channel.

    Batches are RGB, 0 to 255; `color` is the order of the network's channels, and so of `mean` and `std`.
    `size` is height and width in pixels. Plain data, so that the process of an engine needs nothing of what
    checks jobs and sidecars.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    color: Literal["rgb", "bgr"] = "rgb"
