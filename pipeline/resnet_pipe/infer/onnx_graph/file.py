"""Reads an ONNX file into a Graph. Anything unknown is refused: nothing is skipped or guessed."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from resnet_pipe.errors import ModelError
from resnet_pipe.infer import extract
from resnet_pipe.infer.onnx_graph.graph import Graph, Node, fold
from resnet_pipe.infer.onnx_graph.node import DOMAINS, NodeReader
from resnet_pipe.infer.onnx_graph.operations import Plain, Weight
from resnet_pipe.infer.onnx_graph.operators import operation


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
    return fold(_Reader(path, model).read())


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
                nodes.append(self._node(node, output))
                self._known.add(output)
        outputs = tuple(value.name for value in self._graph.output)
        given = {node.output for node in nodes}
        if missing := [name for name in outputs if name not in given]:
            raise ModelError(f"{self._path}: no node produces the output {missing[0]!r}")
        return Graph(self._image, tuple(nodes), outputs, self._constants)

    def _node(self, node: NodeReader, output: str) -> Node:
        found = operation(node)
        node.finish()
        inputs = tuple(node.inputs[: 2 if found is Plain.ADD else 1])
        if not self._known.intersection(inputs):
            taken = ", ".join(map(repr, inputs)) or "nothing"
            raise node.error(f"it takes {taken}, which no node before it produces")
        for index, name in enumerate(inputs):
            if name not in self._known:
                self._constants[name] = node.weight(index)
        return Node(found, inputs, output)
