"""A network as a list of nodes, read from an ONNX file.

Anything unknown is refused: nothing is skipped or guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from resnet_pipe.errors import ModelError
from resnet_pipe.infer import extract
from resnet_pipe.infer.onnx_graph.node import DOMAINS, NodeReader
from resnet_pipe.infer.onnx_graph.operations import OF_TWO, Concat, Conv, Operation, ScaleShift, Weight
from resnet_pipe.infer.onnx_graph.operators import operation


@dataclass(frozen=True)
class Node:
    """One operation, applied to values: the image, outputs of earlier nodes, constants."""

    operation: Operation
    inputs: tuple[str, ...]
    output: str


@dataclass(frozen=True)
class Graph:
    """A network: an image, float32 (N, 3, H, W), and nodes, each after those whose outputs it takes.

    Each of its outputs is given by a node; constants that nodes take as inputs are by name.
    """

    image: str
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, Weight]

    def uses(self) -> Counter[str]:
        """Count how often each value is taken, by nodes and as an output of the network."""
        return Counter([name for node in self.nodes for name in node.inputs] + list(self.outputs))


def read(path: Path, outputs: Collection[str] | None = None) -> Graph:
    """Read an ONNX file; batch norms are folded into the convolutions before them.

    Nodes that only other outputs than those wanted need are left out; None wants all.

    Raises:
        ModelError: not an ONNX file, or it has an unsupported operator or attribute; the message names the
            file, the operator and the node.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = extract.load(path, outputs)
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError) as error:
        problem = f"{path} cannot be read as an ONNX file: {' '.join(str(error).split())[:300]}"
        raise ModelError(problem, "give a file made by `resnet-pipe convert`") from None
    return _fold(_Reader(path, model).read())


class _Reader:
    """Reads the nodes in their order, each after those whose outputs it takes."""

    def __init__(self, path: Path, model: Any) -> None:  # noqa: ANN401 - protobuf messages are untyped
        self._path = path
        self._graph = model.graph
        opsets = (entry.version for entry in model.opset_import if entry.domain in DOMAINS)
        self._opset = max(opsets, default=0)
        self._tensors = {tensor.name: tensor for tensor in self._graph.initializer}
        self._constants: dict[str, Weight] = {}
        images = [value.name for value in self._graph.input if value.name not in self._tensors]
        if len(images) != 1:
            raise ModelError(f"{path}: expected one input, an image; found {len(images)}")
        self._image = images[0]
        self._known = {self._image}  # what depends on the image

    def read(self) -> Graph:
        nodes = []
        for proto in self._graph.node:
            node = NodeReader(self._path, proto, self._tensors, self._opset)
            output = proto.output[0] if proto.output else ""
            if not output or output in self._known or output in self._tensors:
                raise node.error(f"its output {output!r} has no name of its own")
            if proto.op_type == "Constant":
                self._tensors[output] = node.tensor()
            else:
                made = self._nodes(node, [name for name in proto.output if name])
                nodes += made
                self._known.update(one.output for one in made)
        outputs = tuple(value.name for value in self._graph.output)
        given = {node.output for node in nodes}
        if missing := [name for name in outputs if name not in given]:
            raise ModelError(f"{self._path}: no node produces the output {missing[0]!r}")
        return Graph(self._image, tuple(nodes), outputs, self._constants)

    def _nodes(self, node: NodeReader, outputs: list[str]) -> list[Node]:
        """Return what gives each output; of a node with one operation, that is the first."""
        found = operation(node)
        node.finish()
        each = found if isinstance(found, list) else [found]
        count = 2 if found in OF_TWO else len(node.inputs) if isinstance(found, Concat) else 1
        inputs = tuple(node.inputs[:count])
        if not self._known.intersection(inputs):
            taken = ", ".join(map(repr, inputs)) or "nothing"
            raise node.error(f"it takes {taken}, which no node before it produces")
        for index, name in enumerate(inputs):
            if name not in self._known:
                self._constants[name] = node.weight(index)
        return [Node(one, inputs, output) for one, output in zip(each, outputs, strict=False)]


def _fold(graph: Graph) -> Graph:
    """Fold each batch norm into the convolution before it, where nothing else takes that one's output."""
    uses = graph.uses()
    nodes: dict[str, Node] = {}
    """By output."""
    for node in graph.nodes:
        before = nodes.get(node.inputs[0])
        if (
            isinstance(node.operation, ScaleShift)
            and before is not None
            and isinstance(before.operation, Conv)
            and uses[before.output] == 1
            and len(before.operation.bias) == len(node.operation.scale)
        ):
            del nodes[before.output]
            conv, norm = before.operation, node.operation
            weight = conv.weight * norm.scale.reshape(-1, 1, 1, 1)
            folded = replace(conv, weight=weight, bias=conv.bias * norm.scale + norm.shift)
            nodes[node.output] = replace(before, operation=folded, output=node.output)
        else:
            nodes[node.output] = node
    return replace(graph, nodes=tuple(nodes.values()))
