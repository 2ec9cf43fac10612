"""From a torch network to an ONNX graph."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import torch
from onnx import ModelProto
from torch import nn

from resnet_pipe.convert.sources.hugging_face import EXPORT_IT
from resnet_pipe.errors import ModelError
from resnet_pipe.infer.engine import one_line

OPSET = 18
"""The exporter's own; OpenCV 4.10 and later read it."""
_OPSET_OF_BOXES = 17
"""The newest of the older exporter."""


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
    with _exporting():
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
    assert program is not None  # noqa: S101 - with dynamo=True it always gives one
    proto: ModelProto = program.model_proto
    return proto


def export_boxes(
    network: nn.Module, size: tuple[int, int], outputs: Sequence[str], *, any_size: bool
) -> ModelProto:
    """Export a network in eval mode that finds objects, for images of a size (H, W), or of any.

    The graph has the input `input`, float32 (N, 3, H, W), and the outputs by these names. The older exporter
    is used, because what it writes runs in OpenCV.

    Raises:
        ModelError: torch cannot export it.
    """
    given = {0: "N", 2: "H", 3: "W"} if any_size else {0: "N"}
    with TemporaryDirectory() as folder:
        file = Path(folder) / "exported.onnx"
        with _exporting(), torch.inference_mode():
            torch.onnx.export(
                network,
                (torch.zeros(2, 3, *size),),
                file,
                dynamo=False,
                input_names=["input"],
                output_names=list(outputs),
                dynamic_axes={"input": given} | {name: {0: "N"} for name in outputs},
                opset_version=_OPSET_OF_BOXES,
            )
        return _without_copies(onnx.load(file))


@contextmanager
def _exporting() -> Iterator[None]:
    """Say in one line what torch cannot export: it logs whole tracebacks, as errors, from several places."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable()
        try:
            yield
        except Exception as error:  # torch has none of its own for this
            reason = one_line(error.__cause__ or error)  # it wraps the cause in advice to its developers
            raise ModelError(
                f"torch {torch.__version__} cannot export this network: {reason}", EXPORT_IT
            ) from error
        finally:
            logging.disable(before)


def _without_copies(proto: ModelProto) -> ModelProto:
    """Let nodes take a weight itself, where the exporter has given an equal one a second name."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    copies = {
        node.output[0]: node.input[0]
        for node in proto.graph.node
        if node.op_type == "Identity" and node.input[0] in weights
    }
    kept = [node for node in proto.graph.node if node.output[0] not in copies]
    for node in kept:
        for index, name in enumerate(node.input):
            node.input[index] = copies.get(name, name)
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
    return proto
