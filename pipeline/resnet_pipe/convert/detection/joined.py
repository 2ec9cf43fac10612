"""Two networks in one file: one file is replaced as a whole, and has one hash."""

from __future__ import annotations

from onnx import ModelProto, compose

from resnet_pipe.convert.graph import INPUT
from resnet_pipe.model.network import PARTS

_PREFIX = "box_head/"
"""Before the names of the second network's values that are no outputs."""


def joined(first: ModelProto, second: ModelProto) -> ModelProto:
    """Return a graph that holds both; the input of the second one is called `PARTS`."""
    moved = compose.add_prefix(second, _PREFIX, rename_outputs=False, rename_inputs=False)
    for node in moved.graph.node:
        for index, name in enumerate(node.input):
            if name == INPUT:
                node.input[index] = PARTS
    moved.graph.input[0].name = PARTS
    both = ModelProto()
    both.CopyFrom(first)
    both.graph.input.extend(moved.graph.input)
    both.graph.output.extend(moved.graph.output)
    both.graph.node.extend(moved.graph.node)
    both.graph.initializer.extend(moved.graph.initializer)
    return both
