"""A network as a list of nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from resnet_pipe.infer.onnx_graph.operations import Conv, Operation, ScaleShift, Weight


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


def fold(graph: Graph) -> Graph:
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
            folded = _folded(before.operation, node.operation)
            nodes[node.output] = replace(before, operation=folded, output=node.output)
        else:
            nodes[node.output] = node
    return replace(graph, nodes=tuple(nodes.values()))


def _folded(conv: Conv, norm: ScaleShift) -> Conv:
    weight = conv.weight * norm.scale.reshape(-1, 1, 1, 1)
    return replace(conv, weight=weight, bias=conv.bias * norm.scale + norm.shift)
