"""Convolutions that oneDNN executes together with the addition and the Relu after them, on x86 CPUs.

torch.compile calls these functions too; they are not part of torch's documented interface. Measured with
torch 2.14 and ResNet-50: 15.1 images per second of a core, 15.1 with torch.jit.optimize_for_inference
(deprecated), 12.0 with torchvision's network in channels_last.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from resnet_pipe.infer.onnx_graph.graph import Graph
from resnet_pipe.infer.onnx_graph.operations import Conv, Plain
from resnet_pipe.machine import processor


def available() -> bool:
    """Tell whether this torch has these functions, and the CPU is one that this was tried on."""
    has_them = hasattr(torch.ops.mkldnn, "_convolution_pointwise")
    return has_them and torch.backends.mkldnn.is_available() and processor.is_x86()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Fusion:
    """Nodes that are executed as one, whose outputs are `absorbed`, the last of them its own.

    Its inputs are what the convolution takes, and what is added to its result, if something is.
    """

    inputs: tuple[str, ...]
    absorbed: tuple[str, ...]
    relu: bool


def fusions(graph: Graph) -> dict[str, Fusion]:
    """Return for each convolution, by the name of its output, what it can take with it.

    It takes the addition after it and the Relu after that, where nothing else takes what lies between, and
    what is added is there already.
    """
    uses = graph.uses()
    takers = {name: node for node in graph.nodes for name in node.inputs if uses[name] == 1}
    ready, found = {graph.image}, {}
    for node in graph.nodes:
        if node.output in ready:
            continue
        inputs, absorbed, relu = node.inputs, [node.output], False
        if isinstance(node.operation, Conv) and node.operation.window.symmetric:
            after = takers.get(absorbed[-1])
            if after is not None and after.operation is Plain.ADD:
                other = next(name for name in after.inputs if name != node.output)
                if other in ready:
                    inputs = (*inputs, other)
                    absorbed.append(after.output)
                    after = takers.get(absorbed[-1])
            if after is not None and after.operation is Plain.RELU:
                relu = True
                absorbed.append(after.output)
            found[node.output] = Fusion(inputs, tuple(absorbed), relu)
        ready.update(absorbed)
    return found


class Convolution:
    """A convolution with equal pads on both sides, and what it has taken with it.

    The weights are brought into oneDNN's own order for the size of the first input, which must not be given
    by several threads at once. Other sizes are computed as well.
    """

    def __init__(self, conv: Conv, weight: torch.Tensor, bias: torch.Tensor, relu: bool) -> None:
        window = conv.window
        self._geometry = (window.pads[:2], window.strides, window.dilations, conv.groups)
        self._weight, self._bias = weight, bias
        self._window = window
        self._packed = False
        self._relu = relu

    def __call__(self, x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
        """Return relu(conv(x) + other), or what of it there is; x of shape (n, channels, height, width)."""
        library = torch.ops.mkldnn
        x = x.to(self._bias.dtype)
        if not self._packed:
            self._weight = library._reorder_convolution_weight(self._weight, *self._geometry, x.shape)
            self._packed = True
        weights = (self._weight, self._bias, *self._geometry)
        if other is None:
            after = "relu" if self._relu else "none"
            return library._convolution_pointwise(x, *weights, after, [], "")  # type: ignore[no-any-return]
        if other.shape != self._shape_for(x):  # what is added to a smaller map is no shortcut
            found: torch.Tensor = library._convolution_pointwise(x, *weights, "none", [], "") + other
            return found.relu() if self._relu else found
        other = other.to(self._bias.dtype)
        add = library._convolution_pointwise.binary
        return add(x, other, *weights, "add", 1.0, "relu" if self._relu else None, [], "")  # type: ignore[no-any-return]

    def _shape_for(self, x: torch.Tensor) -> torch.Size:
        """Return the shape of the convolution of x."""
        window = self._window
        sides = []
        for axis in (0, 1):
            reach = window.dilations[axis] * (window.kernel[axis] - 1) + 1
            sides.append((x.shape[2 + axis] + 2 * window.pads[axis] - reach) // window.strides[axis] + 1)
        return torch.Size((len(x), len(self._bias), *sides))
