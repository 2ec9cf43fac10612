"""From a torch network to an ONNX graph."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from onnx import ModelProto
from torch import nn

from resnet_pipe.errors import ModelError
from resnet_pipe.machine.silence import silenced

OPSET = 18
"""The exporter's own; OpenCV 4.10 and later read it."""


def export(
    network: nn.Module,
    size: tuple[int, int],
    varies: bool = False,
    *,
    channels: int = 3,
    outputs: Sequence[str] = ("output",),
) -> ModelProto:
    """Export a network in eval mode, which is left as it was, for images of a size (H, W), or of many sizes.

    The graph has the input `input`, float32 (N, channels, H, W), and these outputs, in the network's order,
    as the exporter writes them.

    Raises:
        ModelError: torch cannot export it.
    """
    names = ("N", None, "H", "W") if varies else ("N",)
    with warnings.catch_warnings(), silenced("torch.onnx"):
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                network,
                (torch.zeros(2, channels, *size),),
                dynamo=True,
                input_names=["input"],
                output_names=list(outputs),
                dynamic_shapes=({axis: torch.export.Dim(name) for axis, name in enumerate(names) if name},),
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # torch has none of its own for this
            raise ModelError(f"torch {torch.__version__} cannot export this network: {error}") from error
    assert program is not None  # noqa: S101 - with dynamo=True it always gives one
    proto: ModelProto = program.model_proto
    return proto
