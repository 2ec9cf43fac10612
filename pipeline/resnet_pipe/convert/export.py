"""From a torch network to an ONNX graph."""

from __future__ import annotations

import logging
import warnings

import torch
from onnx import ModelProto
from torch import nn

from resnet_pipe.convert.sources.hugging_face import EXPORT_IT
from resnet_pipe.errors import ModelError
from resnet_pipe.infer.engine import one_line

OPSET = 18
"""The exporter's own; OpenCV 4.10 and later read it."""


def export(network: nn.Module, size: tuple[int, int]) -> ModelProto:
    """Export a network in eval mode, which is left as it was, for images of a size (H, W).

    The graph has the input `input`, float32 (N, 3, H, W), and one output, `output`, as the exporter writes
    them.

    Raises:
        ModelError: torch cannot export it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable()  # of torch, which logs whole tracebacks, as errors, from several places
        try:
            program = torch.onnx.export(
                network,
                (torch.zeros(2, 3, *size),),
                dynamo=True,
                input_names=["input"],
                output_names=["output"],
                dynamic_shapes=({0: torch.export.Dim("N")},),
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # torch has none of its own for this
            reason = one_line(error.__cause__ or error)  # it wraps the cause in advice to its developers
            raise ModelError(
                f"torch {torch.__version__} cannot export this network: {reason}", EXPORT_IT
            ) from error
        finally:
            logging.disable(before)
    assert program is not None  # noqa: S101 - with dynamo=True it always gives one
    proto: ModelProto = program.model_proto
    return proto
