"""What the nodes of a graph do, with their weights. Axes and shapes are those of the NCHW form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Weight = NDArray[np.float32]
Pair = tuple[int, int]
Pads = tuple[int, int, int, int]


@dataclass(frozen=True)
class Window:
    """Where a convolution or a pooling looks.

    Attributes:
        kernel: height and width, pixels.
        strides: down and to the right.
        pads: rows and columns that are added: top, left, bottom, right.
        dilations: distance of neighbours in the kernel.
        ceil: whether a window may begin inside and end outside.
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
    """A convolution.

    Attributes:
        weight: shape (outputs, inputs / groups, height, width).
        bias: shape (outputs,).
        window: of the kernel.
        groups: of channels that do not see each other.
    """

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
    """The mean of each window.

    Attributes:
        window: padded by as much on both sides, not dilated.
        count_pads: whether what is added counts, as zero.
    """

    window: Window
    count_pads: bool


@dataclass(frozen=True)
class Mean:
    """The mean over axes (of the NCHW form), which stay with length 1 if `keep`."""

    axes: tuple[int, ...]
    keep: bool


@dataclass(frozen=True, eq=False)
class Linear:
    """x @ weight.T + bias.

    Attributes:
        weight: shape (outputs, inputs).
        bias: shape (outputs,).
    """

    weight: Weight
    bias: Weight


@dataclass(frozen=True, eq=False)
class ScaleShift:
    """x * scale + shift for each channel, both of shape (channels,): a batch norm in use."""

    scale: Weight
    shift: Weight


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
class Softmax:
    """Softmax along one axis of the NCHW form, or the logarithm of it."""

    axis: int
    log: bool = False


@dataclass(frozen=True)
class Sigmoid:
    """1 / (1 + exp(-x))."""


@dataclass(frozen=True)
class Squeeze:
    """Axes of the NCHW form, each of length 1, are left out."""

    axes: tuple[int, ...]


@dataclass(frozen=True)
class Relu:
    """max(x, 0)."""


@dataclass(frozen=True)
class Add:
    """The sum of two values; shapes are matched from the last axis, in NCHW order."""


@dataclass(frozen=True)
class Identity:
    """The value as it is."""


Operation = (
    Conv
    | MaxPool
    | AveragePool
    | Mean
    | Linear
    | ScaleShift
    | Clip
    | Reshape
    | Flatten
    | Softmax
    | Sigmoid
    | Squeeze
    | Relu
    | Add
    | Identity
)
