"""What an engine must know of the preprocessing: the rest has been done when a batch comes to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class NetworkInput:
    """What the network is given for an image: (value / 255 - mean) / std per channel.

    Plain data, so that the process of an engine needs nothing of what checks jobs and sidecars.

    Attributes:
        size: height and width, pixels.
        mean: per channel, for values in 0..1, in the order of `color`.
        std: the same.
        color: order of the channels; batches are RGB.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    color: Literal["rgb", "bgr"] = "rgb"
