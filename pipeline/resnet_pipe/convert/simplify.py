"""What an exporter has left in an ONNX graph is computed, dropped, folded, or written as engines like it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from math import prod

from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from resnet_pipe.convert import batch, float32
from resnet_pipe.convert.known import compute_constants, constants_of, shapes_of
from resnet_pipe.errors import ModelError
from resnet_pipe.machine.silence import silenced


def simplified(proto: ModelProto) -> ModelProto:
    """Return a graph without what is constant or unused; the given one may be changed.

    Batch norms are folded into what is before them, half precision becomes float32, every mean over height
    and width a GlobalAveragePool, and every Reshape to one row an image a Flatten: cv2.dnn has no CUDA kernel
    for the other forms, and each forward pass would go back to the CPU for them. Of shapes that are computed
    from the batch, those that can be are written down.

    Raises:
        ModelError: it cannot be simplified.
    """
    float32.convert(proto)
    proto = batch.written_down(proto, _optimized)
    _pool_globally(proto, shapes_of(proto))
    return proto


def _optimized(proto: ModelProto) -> ModelProto:
    """Compute what is constant, drop what is unused, and fold batch norms."""
    from onnxscript import optimizer, rewriter
    from onnxscript.rewriter.rules.common import fuse_batchnorm_into_conv_rule, fuse_batchnorm_into_gemm_rule

    rules = [fuse_batchnorm_into_conv_rule, fuse_batchnorm_into_gemm_rule]
    with warnings.catch_warnings(), silenced():
        warnings.simplefilter("ignore")
        try:
            found: ModelProto = rewriter.rewrite(optimizer.optimize(proto), rules)
            compute_constants(found)
        except Exception as error:  # the library has no error of its own, and the graph may be anybody's
            raise ModelError(f"the network cannot be simplified: {error}", "export it again") from None
    return found


def _pool_globally(proto: ModelProto, shapes: Mapping[str, list[int]]) -> None:
    """Write a mean over height and width as GlobalAveragePool, and the Reshape after it as Flatten."""
    graph, constants = proto.graph, constants_of(proto)
    made: list[NodeProto] = []
    for node in graph.node:
        shape = shapes.get(node.input[0]) if node.input else None
        if (
            node.op_type == "ReduceMean"
            and _axes(node, constants) in ({2, 3}, {-2, -1})
            and len(shape or ()) == 4
        ):
            keeps = next((one.i for one in node.attribute if one.name == "keepdims"), 1)
            pooled = node.output[0] if keeps else f"{node.output[0]}_pooled"
            made.append(helper.make_node("GlobalAveragePool", [node.input[0]], [pooled], name=node.name))
            if not keeps:
                made.append(helper.make_node("Flatten", [pooled], [node.output[0]], axis=1))
        elif node.op_type == "Reshape" and _flattens(shape, shapes.get(node.output[0])):
            made.append(
                helper.make_node("Flatten", [node.input[0]], [node.output[0]], name=node.name, axis=1)
            )
        else:
            made.append(node)
    kept = [NodeProto.FromString(node.SerializeToString()) for node in made]
    del graph.node[:]
    graph.node.extend(kept)


def _flattens(before: list[int] | None, after: list[int] | None) -> bool:
    """Tell whether a Reshape of (N, C, H, W) gives (N, C * H * W)."""
    return bool(
        before and after and len(before) == 4 and len(after) == 2 and 0 < after[1] == prod(before[1:])
    )


def _axes(node: NodeProto, constants: Mapping[str, TensorProto]) -> set[int] | None:
    """Return over which axes a ReduceMean is; they are an input from opset 18 on, and an attribute before."""
    for attribute in node.attribute:
        if attribute.name == "axes":
            return set(attribute.ints)
    if len(node.input) > 1 and node.input[1] in constants:
        return set(numpy_helper.to_array(constants[node.input[1]]).flatten().tolist())
    return None
