"""A network as OpenVINO takes it: read, with the normalisation in it, and proved once compiled."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

from resnet_pipe.errors import DeviceError
from resnet_pipe.infer import extract
from resnet_pipe.infer.batches import check_batch_size
from resnet_pipe.infer.engine import EngineRequest

_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""What to compute in where the model does not say it itself. An int8 model says it for nearly all layers."""
_LAYER_PRECISIONS = {"fp32": {"f32"}, "bf16": {"bf16"}, "int8": {"u8", "i8"}}
"""OpenVINO's names for what a layer takes."""
_PRODUCTS = {"Convolution", "FullyConnected", "MatMul"}
"""OpenVINO's names of the layers that take the time."""


def settings(request: EngineRequest, cores: int) -> dict[str, Any]:
    """Return how OpenVINO is to compile a network for the CPU, of which it sees so many cores."""
    settings = {
        "INFERENCE_PRECISION_HINT": _HINTS[request.precision],
        "INFERENCE_NUM_THREADS": request.threads,
        "PERFORMANCE_HINT": "THROUGHPUT",
        # With fewer threads than cores, every program would pin its own to the same first cores.
        "ENABLE_CPU_PINNING": request.threads >= cores,
    }
    return settings if request.streams is None else {**settings, "NUM_STREAMS": request.streams}


def read(ov: Any, request: EngineRequest) -> Any:  # noqa: ANN401 - the module and a Model
    """Return the network with uint8 NHWC RGB input, which normalises in torchvision's order."""
    # By name: Core.read_model tries every format it knows on a file that is none of them.
    onnx = ov.frontend.FrontEndManager().load_by_framework("onnx")
    model: Path | io.BytesIO = request.model
    if request.extract:
        model = io.BytesIO(extract.extracted(request.model, request.outputs))
    network = onnx.convert(onnx.load(model))
    count = network.input().partial_shape[0]
    check_batch_size(request, count.get_length() if count.is_static else None)
    preprocessing = request.preprocessing
    fused = ov.preprocess.PrePostProcessor(network)
    image = fused.input()
    image.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    image.tensor().set_shape(ov.PartialShape([count, *preprocessing.size, 3]))
    image.tensor().set_color_format(ov.preprocess.ColorFormat.RGB)
    image.model().set_layout(ov.Layout("NCHW"))
    steps = image.preprocess()
    if preprocessing.color == "bgr":
        steps.convert_color(ov.preprocess.ColorFormat.BGR)
    steps.convert_element_type(ov.Type.f32)
    steps.scale(255.0).mean(preprocessing.mean).scale(preprocessing.std)
    return fused.build()


def prove(compiled: Any, precision: str) -> str:  # noqa: ANN401 - a CompiledModel
    """Return in words what the layers of a compiled network compute in; if not as asked, a `DeviceError`."""
    layers = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    products = [layer for layer in layers if layer["layerType"].value in _PRODUCTS]
    if not products:
        return "no convolutions or matrix products"
    found = Counter(layer["runtimePrecision"].value for layer in products)
    counted = ", ".join(f"{count} in {name}" for name, count in found.most_common())
    wanted = sum(found[name] for name in _LAYER_PRECISIONS[precision])
    if wanted < (len(products) if precision == "fp32" else 1):
        raise DeviceError(
            f"{precision} was requested, but OpenVINO computes convolutions and matrix products: {counted}",
            "choose another infer.precision",
        )
    kernels = {layer["primitiveType"].value for layer in products}
    named = ", ".join(sorted(kernel for kernel in kernels if not kernel.startswith("undef")))
    return f"compiled convolutions and matrix products: {counted} ({named})"
