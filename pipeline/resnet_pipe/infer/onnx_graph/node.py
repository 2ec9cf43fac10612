"""Reads one node of an ONNX file. Each attribute is asked for with its range; any other is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import ModelError
from resnet_pipe.infer.onnx_graph.operations import Pads, Pair, Weight, Window

DOMAINS = ("", "ai.onnx")
"""Names of ONNX's own set of operators."""
MOST_AXES = 6
"""Of a value."""
_END = 2**31 - 1
"""Beyond all lengths."""
_LARGEST = 8192
"""Of kernels, strides and pads: the largest image that a job may have."""


def is_axis(value: object) -> bool:
    """Tell whether a value is the number of an axis, counted from the first one, or back from the last."""
    return type(value) is int and -MOST_AXES <= value < MOST_AXES


class NodeReader:
    """One node of a file, with the file's constants by name, and its version of ONNX's operators."""

    def __init__(self, path: Path, proto: Any, tensors: Mapping[str, Any], opset: int) -> None:  # noqa: ANN401
        from onnx import helper

        self._path = path
        self._tensors = tensors
        self.operator = proto.op_type if proto.domain in DOMAINS else f"{proto.domain}.{proto.op_type}"
        self.name = f"operator {self.operator!r}, node {proto.name!r}"
        self.opset = opset
        self.inputs = list(proto.input)
        try:
            self._attributes = {entry.name: helper.get_attribute_value(entry) for entry in proto.attribute}
        except ValueError as error:
            raise self.error(str(error)) from None

    def error(self, problem: str) -> ModelError:
        """Return an error that names the file and the node."""
        return ModelError(
            f"{self._path}: {self.name}: {problem[:300]}",
            "try infer.engine: onnxruntime, which has every operator; or convert the network again",
        )

    def finish(self) -> None:
        """Refuse attributes that have not been read."""
        if self._attributes:
            raise self.error(f"unknown attribute {min(self._attributes)!r}")

    def ignore(self, *names: str) -> None:
        """Accept attributes that do not matter for a forward pass."""
        for name in names:
            self._attributes.pop(name, None)

    def has(self, index: int) -> bool:
        """Tell whether the optional input `index` is given."""
        return index < len(self.inputs) and self.inputs[index] != ""

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """Return an attribute that is a number from `low` to `high`."""
        value = self._attributes.pop(name, default)
        if type(value) is not int or not low <= value <= high:
            raise self.error(f"{name} is {value!r}, not {low}" + (f" to {high}" if high > low else ""))
        return value

    def integers(self, name: str, default: tuple[int, ...], low: int, high: int) -> tuple[int, ...]:
        """Return an attribute of as many numbers as `default` has, each from `low` to `high`."""
        values = self._attributes.pop(name, default)
        if (
            not isinstance(values, list | tuple)
            or len(values) != len(default)
            or not all(type(value) is int and low <= value <= high for value in values)
        ):
            raise self.error(f"{name} is {values!r}, not {len(default)} numbers from {low} to {high}")
        return tuple(values)

    def real(self, name: str, default: float) -> float:
        """Return an attribute that is a number."""
        value = self._attributes.pop(name, default)
        if type(value) not in (int, float) or math.isnan(value):
            raise self.error(f"{name} is {value!r}, not a number")
        return float(value)

    def text(self, name: str, default: str) -> str:
        """Return an attribute that is a text."""
        value = self._attributes.pop(name, default.encode())
        if not isinstance(value, bytes):
            raise self.error(f"{name} is {value!r}, not a text")
        return value.decode(errors="replace")

    def axes(self) -> tuple[int, ...]:
        """Return the attribute or, since opset 18, the second input `axes`."""
        axes = self._attributes.pop("axes", None)
        if axes is None and self.has(1):
            axes = self.array(1).ravel().tolist()
        if not isinstance(axes, list) or not axes or not all(map(is_axis, axes)):
            raise self.error(f"axes are {axes!r}, not numbers from {-MOST_AXES} to {MOST_AXES - 1}")
        return tuple(axes)

    def axis(self, default: int) -> int:
        """Return the attribute `axis`."""
        return self.integer("axis", default, -MOST_AXES, MOST_AXES - 1)

    def is_constant(self, index: int) -> bool:
        """Tell whether an input is a constant."""
        return self.has(index) and self.inputs[index] in self._tensors

    def numbers(self, index: int) -> list[int]:
        """Return an input that must be a constant: integers. What is beyond all lengths becomes the most."""
        values = self.array(index)
        if values.dtype.kind != "i" or values.size > _LARGEST:
            raise self.error(f"input {index} is {values.dtype}, shape {values.shape}: no list of integers")
        found: list[int] = values.ravel().clip(-_END, _END).tolist()
        return found

    def attribute_numbers(self, name: str) -> list[int] | None:
        """Return an attribute that is a list of integers; None if it is not there."""
        values = self._attributes.pop(name, None)
        if values is None:
            return None
        listed = isinstance(values, list | tuple) and len(values) <= _LARGEST
        if not listed or not all(type(n) is int for n in values):
            raise self.error(f"{name} is {values!r}, not a list of integers")
        return list(values)

    def tensor(self) -> Any:  # noqa: ANN401
        """Return the value of a Constant."""
        value = self._attributes.pop("value", None)
        self.finish()
        if not hasattr(value, "dims"):
            raise self.error("a constant that is not a tensor")
        return value

    def array(self, index: int) -> NDArray[Any]:
        """Return an input that must be a constant."""
        from onnx import numpy_helper

        if not self.has(index) or self.inputs[index] not in self._tensors:
            raise self.error(f"input {index} is not a constant")
        try:
            return np.asarray(numpy_helper.to_array(self._tensors[self.inputs[index]]))
        except (ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
            raise self.error(f"input {index}: {error}") from None

    def weight(self, index: int, rank: int | None = None) -> Weight:
        """Return an input that must be a constant of floating point numbers, with `rank` axes."""
        values = self.array(index)
        if values.dtype.kind != "f" or values.size == 0 or rank not in (None, values.ndim):
            raise self.error(f"input {index} is {values.dtype}, shape {values.shape}: no weights for it")
        return np.ascontiguousarray(values, np.float32)

    def window(self, kernel: Pair | None = None, *, ceil: bool = False, dilated: bool = True) -> Window:
        """Return where it looks, with the kernel of the weights, or else of the attribute kernel_shape.

        `ceil` tells whether the operator has ceil_mode, `dilated` whether dilations are accepted.
        """
        shape = cast(Pair, self.integers("kernel_shape", kernel or (0, 0), 1, _LARGEST))
        if kernel not in (None, shape) or 0 in shape:
            raise self.error(f"kernel_shape is {shape}, which does not fit its weights")
        automatic = self._attributes.pop("auto_pad", b"NOTSET")
        pads = cast(Pads, self.integers("pads", (0, 0, 0, 0), 0, _LARGEST))
        if automatic not in (b"NOTSET", b"VALID") or (automatic == b"VALID" and any(pads)):
            raise self.error(f"auto_pad is {automatic!r}; pads must be numbers")
        dilations = cast(Pair, self.integers("dilations", (1, 1), 1, _LARGEST if dilated else 1))
        if any(pad > d * (k - 1) for pad, d, k in zip(pads, dilations * 2, shape * 2, strict=True)):
            raise self.error(f"pads {pads} are not smaller than the kernel {shape}")
        strides = cast(Pair, self.integers("strides", (1, 1), 1, _LARGEST))
        return Window(shape, strides, pads, dilations, ceil=ceil and self.integer("ceil_mode", 0, 0, 1) == 1)
