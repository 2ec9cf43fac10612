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
class Unsqueeze:
    """Axes of length 1 come in, at these places of the result."""

    axes: tuple[int, ...]

    def of(self, axes: int) -> tuple[slice | None, ...]:
        """Return the index that does it to a value with so many axes."""
        total = axes + len(self.axes)
        new = {axis % total for axis in self.axes}
        return tuple(None if axis in new else slice(None) for axis in range(total))


@dataclass(frozen=True)
class Transpose:
    """Another order of the axes; None for the opposite one."""

    order: tuple[int, ...] | None


@dataclass(frozen=True)
class Slice:
    """A part along some axes: of each the axis, where it begins, before where it ends, and the step."""

    ranges: tuple[tuple[int, int, int, int], ...]

    def of(self, axes: int) -> tuple[slice, ...]:
        """Return the index of the part of a value with so many axes."""
        index = [slice(None)] * axes
        for axis, begin, end, step in self.ranges:
            index[axis] = slice(begin, end, step)
        return tuple(index)


@dataclass(frozen=True)
class Take:
    """What lies at these places along an axis; alone, it leaves out the axis."""

    axis: int
    places: tuple[int, ...]
    alone: bool


@dataclass(frozen=True)
class Concat:
    """Values one after the other along an axis."""

    axis: int


@dataclass(frozen=True)
class Softmax:
    """Softmax along one axis, or the logarithm of it."""

    axis: int
    log: bool = False


class Plain(Enum):
    """What has neither weights nor settings; of two values, shapes are matched from the last axis."""

    ADD = auto()
    SUBTRACT = auto()
    MULTIPLY = auto()
    DIVIDE = auto()
    POWER = auto()
    PRODUCT = auto()
    IDENTITY = auto()
    RELU = auto()
    SIGMOID = auto()
    TANH = auto()
    EXP = auto()
    ROOT = auto()


OF_TWO = (Plain.ADD, Plain.SUBTRACT, Plain.MULTIPLY, Plain.DIVIDE, Plain.POWER, Plain.PRODUCT)
"""What takes two values; PRODUCT is that of matrices, in the last two axes."""

Operation = (
    Conv | MaxPool | AveragePool | Mean | Linear | ScaleShift | Clip | Repeat
    | Reshape | Flatten | Squeeze | Unsqueeze | Transpose | Slice | Take | Concat | Softmax | Plain
)  # fmt: skip
