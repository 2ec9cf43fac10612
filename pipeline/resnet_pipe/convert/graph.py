"""From a torch network to a clean ONNX graph that every engine, and CUDA in cv2.dnn, executes whole."""

from __future__ import annotations

import copy
import math
import warnings
from typing import Any

import onnx
import torch
from onnx import ModelProto, helper, shape_inference
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from resnet_pipe.errors import ModelError
from resnet_pipe.machine.silence import silenced

OPSET = 18
"""The exporter's own; OpenCV 4.10 and later read it."""


def export(network: nn.Module, size: tuple[int, int]) -> ModelProto:
    """Export a torchvision ResNet in eval mode, which is left as it was, for images of a size (H, W).

    The graph has the input `input`, float32 (N, 3, H, W), and the outputs `logits` (N, classes) and
    `features` (N, width). Batch norms are folded into the convolutions before them.

    Raises:
        ModelError: the exporter has given a graph that cannot be brought into this form.
    """
    model = _with_features(_fold(copy.deepcopy(network)))
    with warnings.catch_warnings(), silenced("torch.onnx"):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            (torch.zeros(2, 3, *size),),
            dynamo=True,
            input_names=["input"],
            output_names=["logits", "features"],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    assert program is not None  # noqa: S101 - with dynamo=True it always gives one
    proto: ModelProto = program.model_proto
    _pool_globally(proto)
    _strip(proto)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def multiply_accumulates(proto: ModelProto) -> int:
    """Count those of the convolutions and the classifier for one image."""
    graph = shape_inference.infer_shapes(proto).graph
    weights = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
    shapes = {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output)
    }
    return sum(
        weights[node.input[1]] * math.prod(shapes[node.output[0]][2:])
        for node in graph.node
        if node.op_type in ("Conv", "Gemm")
    )


def _with_features(network: Any) -> nn.Module:  # noqa: ANN401 - torchvision's ResNet
    """Return a module that gives the logits and what the classifier sees."""

    class WithFeatures(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            x = network.maxpool(network.relu(network.bn1(network.conv1(image))))
            x = network.layer4(network.layer3(network.layer2(network.layer1(x))))
            features = torch.flatten(network.avgpool(x), 1)
            return network.fc(features), features

    return WithFeatures().eval()


def _fold(module: nn.Module) -> nn.Module:
    """Fold every batch norm that follows a convolution into it, in place."""
    previous: tuple[str, nn.Conv2d] | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d) and previous is not None:
            module.set_submodule(previous[0], fuse_conv_bn_eval(previous[1], child))
            module.set_submodule(name, nn.Identity())
        _fold(child)
        previous = (name, child) if isinstance(child, nn.Conv2d) else None
    return module


def _pool_globally(proto: ModelProto) -> None:
    """Write the mean over height and width as GlobalAveragePool and Flatten.

    The exporter writes ReduceMean and Reshape, for which cv2.dnn has no CUDA kernel: each forward pass
    would go back to the CPU for them.
    """
    nodes = proto.graph.node
    for index, node in enumerate(nodes):
        after = nodes[index + 1] if index + 1 < len(nodes) else None
        if node.op_type != "ReduceMean" or after is None:
            continue
        if after.op_type != "Reshape" or after.input[0] != node.output[0]:
            raise ModelError(
                "the exporter wrote the pooling in an unexpected form", "use a torch version that was tested"
            )
        pool = helper.make_node("GlobalAveragePool", [node.input[0]], ["pool"], name="pool")
        flatten = helper.make_node("Flatten", ["pool"], [after.output[0]], name="flatten", axis=1)
        nodes[index].CopyFrom(pool)
        nodes[index + 1].CopyFrom(flatten)
    operators = {node.op_type for node in nodes}
    allowed = {"Conv", "Relu", "Add", "MaxPool", "GlobalAveragePool", "Flatten", "Gemm"}
    if operators - allowed:
        extra = ", ".join(sorted(operators - allowed))
        raise ModelError(f"the exported graph has operators it should not have: {extra}")


def _strip(proto: ModelProto) -> None:
    """Remove what no engine reads: unused weights, inner shapes, notes of the exporter and of the machine."""
    graph = proto.graph
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(sorted(kept, key=lambda tensor: tensor.name))
    del graph.value_info[:], proto.metadata_props[:]
    graph.name, graph.doc_string, proto.doc_string = "resnet", "", ""
    parts: list[Any] = [*graph.node, *graph.input, *graph.output, *graph.initializer]
    for part in parts:
        part.doc_string = ""
        del part.metadata_props[:]
