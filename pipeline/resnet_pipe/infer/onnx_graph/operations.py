"""What the nodes of a graph do, with their weights. Axes and shapes are those of the NCHW form."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

Weight = NDArray[np.float32]
Pair = tuple[int, int]
Pads = tuple[int, int, int, int]


@dataclass(frozen=True)
class Window:
    """Where a convolution or a pooling looks, in pixels: (down, right); of pads, (top, left, bottom, right).

    Dilations are the distances of neighbours in the kernel; with `ceil`, a window may end outside.
    """

    kernel: Pair
    strides: Pair
    pads: Pads
    dilations: Pair
    ceil: bool = False

    @property
    def symmetric(self) -> bool:
        """Whether as much is added on both sides."""
        return self.pads[:2] == self.pads[2:]


@dataclass(frozen=True, eq=False)
class Conv:
    """A convolution: weight (outputs, inputs / groups, height, width), bias (outputs,)."""

    weight: Weight
    bias: Weight
    window: Window
    groups: int


@dataclass(frozen=True)
class MaxPool:
    """The largest value of each window; what is added counts as minus infinity."""

    window: Window


@dataclass(frozen=True)
class AveragePool:
    """The mean of each window, symmetric and not dilated; added zeros count or not."""

    window: Window
    count_pads: bool


@dataclass(frozen=True)
class Mean:
    """The mean over axes, which stay with length 1 if `keep`."""

    axes: tuple[int, ...]
    keep: bool


@dataclass(frozen=True, eq=False)
class Linear:
    """x @ weight.T + bias: weight (outputs, inputs), bias (outputs,)."""

    weight: Weight
    bias: Weight


@dataclass(frozen=True, eq=False)
class ScaleShift:
    """x * scale + shift for each channel, both of shape (channels,): a batch norm in use."""

    scale: Weight
    shift: Weight


@dataclass(frozen=True)
class Repeat:
    """Each value becomes a block of the same value, so many (down, right)."""

    times: Pair


@dataclass(frozen=True)
class Clip:
    """Values are brought into low..high."""

    low: float
    high: float


@dataclass(frozen=True)
class Reshape:
    """Another shape for the values in NCHW order; 0 is the length of that axis, -1 what is left."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Flatten:
    """Two axes: those before `axis`, and the others."""

    axis: int


@dataclass(frozen=True)
class Squeeze:
    """Axes of length 1 are left out."""

    axes: tuple[int, ...]


@dataclass(frozen=True)
class Softmax:
    """Softmax along one axis, or the logarithm of it."""

    axis: int
    log: bool = False


class Plain(Enum):
    """What has neither weights nor settings; of an addition, shapes are matched from the last axis."""

    ADD = auto()
    IDENTITY = auto()
    RELU = auto()
    SIGMOID = auto()


Operation = (
    Conv | MaxPool | AveragePool | Mean | Linear | ScaleShift | Clip | Repeat
    | Reshape | Flatten | Squeeze | Softmax | Plain
)  # fmt: skip
