"""OpenVINO on the CPU: float32, bfloat16 where the processor has it, and int8 models."""

from __future__ import annotations

import io
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import DeviceError, EngineError, MissingExtraError, ModelError
from resnet_pipe.infer import engine as engines
from resnet_pipe.infer import extract
from resnet_pipe.infer.batches import Forward, check_batch_size, padded, rows_of
from resnet_pipe.infer.engine import Engine, EngineDescription, EngineInfo, EngineRequest, one_line
from resnet_pipe.infer.first_passes import FirstPasses, execute, trusted
from resnet_pipe.infer.placement import Streams
from resnet_pipe.machine import processor
from resnet_pipe.model.network import inspect
from resnet_pipe.preprocess.network_input import Pixels

DESCRIPTION = EngineDescription(
    library="openvino",
    distributions=("openvino",),
    extra="openvino",
    int8=True,
    saturates=True,
    any_size=True,
)
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""What to compute in where the model does not say it itself. An int8 model says it for nearly all layers."""
_LAYER_PRECISIONS = {"fp32": {"f32"}, "bf16": {"bf16"}, "int8": {"u8", "i8"}}
"""OpenVINO's names for what a layer takes."""
_PRODUCTS = {"Convolution", "FullyConnected", "MatMul"}
"""OpenVINO's names of the layers that take the time."""
_KEPT_LAYERS = 1000
"""So many layers of a kind are kept compiled for a size of images: of a Faster R-CNN, those of a dozen sizes.

OpenVINO itself keeps 5,000, a megabyte or two for each size, as long as sizes come that are new.
"""


def devices() -> dict[str, tuple[str, ...]]:
    """Return the precisions by kind of device.

    OpenVINO's own choice is bf16 on every processor that has instructions for it. That pays only with AMX:
    on a Xeon whose AMX was hidden, leaving AVX512_BF16, ResNet-50 took 92 ms of a core in bf16, 54 in fp32.
    """
    able = _library().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    precisions = ["fp32"]
    if "BF16" in able and processor.computes_bf16():
        precisions.insert(0 if processor.multiplies_bf16_tiles() else 1, "bf16")
    if "INT8" in able:
        precisions.append("int8")
    return {"cpu": tuple(precisions)}


def batch_size(device: str) -> int:
    """Return the batch size that is fastest: any is, so one small enough that the streams end together."""
    return 8


def load(request: EngineRequest) -> Engine:
    """Compile an ONNX file for the CPU and run it once; see `EngineModule.load`."""
    had = devices()["cpu"]
    if request.device not in ("auto", "cpu"):
        problem = f"engine openvino does not support device {request.device} here"
        raise DeviceError(problem, "infer.device: cpu")
    if request.precision not in had:
        problem = f"engine openvino does not support {request.precision} on this processor"
        raise DeviceError(problem, f"use one of: {', '.join(had)}")
    if request.precision == "int8" and (wrong := engines.saturation("openvino", inspect(request.model))):
        raise ModelError(f"{request.model}: {wrong}", engines.SATURATION_REMEDY)
    return trusted(request, OpenVinoEngine)


class OpenVinoEngine:
    """One network in OpenVINO, which runs on as many streams as OpenVINO finds best.

    It reads batches where they lie and normalises them itself, in float32.
    """

    def __init__(self, request: EngineRequest) -> None:
        ov = _library()
        self._version: str = ov.__version__.partition("-")[0]  # without build and branch
        self._request = request
        started = time.perf_counter()
        try:
            network = _read(ov, request)
            core = ov.Core()
            options = _settings(request, core.get_property("CPU", "RANGE_FOR_STREAMS")[1])
            self._compiled = core.compile_model(network, "CPU", options)
            self.streams: int = self._compiled.get_property("NUM_STREAMS")
            if request.streams not in (None, self.streams):
                raise DeviceError(
                    f"{request.streams} streams were requested, but OpenVINO runs {self.streams} here",
                    f"infer.streams: {self.streams}, or more infer.threads if there are more cores",
                )
            streams = [_Stream(self._compiled) for _ in range(self.streams)]
            self._load_s = time.perf_counter() - started
            self.first = _first_passes(request, streams[0].forward)
            self._pads = not self.first.any_size
            self._proof = _prove(self._compiled, request.precision)
        except (DeviceError, ModelError):
            raise
        except Exception as error:  # those of OpenVINO's frontends have no base of their own
            problem = f"OpenVINO {self._version} cannot run {request.model}: {_words(error)}"
            raise ModelError(problem) from None
        self._streams = Streams(streams)

    def infer(self, batch: Pixels) -> dict[str, NDArray[np.float32]]:
        """Execute the network; see `Engine.infer`."""
        whole = padded(batch, self._request.batch_size if self._pads else 0)
        try:
            with self._streams.one() as stream:
                outputs = stream.forward(whole)
                # Copied while the stream is still ours: the next batch overwrites them.
                return {
                    name: rows_of(self._request, outputs[name], len(batch)) for name in self._request.outputs
                }
        except (RuntimeError, MemoryError) as error:
            raise EngineError(f"OpenVINO failed on a batch of {len(batch)}: {_words(error)}") from None

    def shrink(self, batch_size: int) -> None:
        """Do nothing: a smaller batch runs as it is, and a network made for one size takes no other."""

    def describe(self) -> EngineInfo:
        """Return what really runs."""
        return EngineInfo(
            name="openvino",
            version=self._version,
            device="cpu",
            precision=self._request.precision,
            threads=self._compiled.get_property("INFERENCE_NUM_THREADS"),
            streams=self.streams,
            load_s=round(self._load_s, 3),
            proof=self._proof,
        )


class _Stream:
    """What one thread needs to execute the network."""

    def __init__(self, compiled: Any) -> None:  # noqa: ANN401 - no stubs
        self._request = compiled.create_infer_request()
        self._outputs = {name: port for port in compiled.outputs for name in sorted(port.names)}

    def forward(self, batch: Pixels) -> dict[str, NDArray[Any]]:
        """Execute the network on a batch that is contiguous, and return views of all of its outputs."""
        self._request.set_input_tensor(_library().Tensor(batch, shared_memory=True))
        self._request.infer(share_outputs=True)
        return {name: self._request.get_tensor(port).data for name, port in self._outputs.items()}


def _first_passes(request: EngineRequest, forward: Forward) -> FirstPasses:
    """Execute a network on two images and one; on whole batches if it takes no other number.

    A network that takes one image and two takes as many as there are, and a whole batch takes longer.
    """
    try:
        return execute(replace(request, batch_size=min(2, request.batch_size)), forward, RuntimeError)
    except (RuntimeError, ModelError):
        return execute(request, forward, RuntimeError)


def _settings(request: EngineRequest, cores: int) -> dict[str, Any]:
    """Return how OpenVINO is to compile a network for the CPU, of which it sees so many cores."""
    settings = {
        "INFERENCE_PRECISION_HINT": _HINTS[request.precision],
        "INFERENCE_NUM_THREADS": request.threads,
        "PERFORMANCE_HINT": "THROUGHPUT",
        # With fewer threads than cores, every program would pin its own to the same first cores.
        "ENABLE_CPU_PINNING": request.threads >= cores,
        "CPU_RUNTIME_CACHE_CAPACITY": _KEPT_LAYERS,
    }
    return settings if request.streams is None else {**settings, "NUM_STREAMS": request.streams}


def _read(ov: Any, request: EngineRequest) -> Any:  # noqa: ANN401 - the module and a Model
    """Return the network with NHWC RGB input, which normalises in torchvision's order."""
    # By name: Core.read_model tries every format it knows on a file that is none of them.
    onnx = ov.frontend.FrontEndManager().load_by_framework("onnx")
    model: Path | io.BytesIO = request.model
    if request.extract:
        model = io.BytesIO(extract.extracted(request.model, request.outputs))
    network = onnx.convert(onnx.load(model))
    count = network.input().partial_shape[0]
    check_batch_size(request, count.get_length() if count.is_static else None)
    preprocessing = request.preprocessing
    if preprocessing.shape is not None:
        return network
    fused = ov.preprocess.PrePostProcessor(network)
    image = fused.input()
    sides = preprocessing.size if preprocessing.other is None else (-1, -1)
    kind = ov.Type.f32 if preprocessing.floats else ov.Type.u8
    image.tensor().set_element_type(kind).set_layout(ov.Layout("NHWC"))
    image.tensor().set_shape(ov.PartialShape([count, *sides, 3]))
    image.tensor().set_color_format(ov.preprocess.ColorFormat.RGB)
    image.model().set_layout(ov.Layout("NCHW"))
    steps = image.preprocess()
    if preprocessing.color == "bgr":
        steps.convert_color(ov.preprocess.ColorFormat.BGR)
    steps.convert_element_type(ov.Type.f32)
    steps.scale(255.0).mean(preprocessing.mean).scale(preprocessing.std)
    built = fused.build()
    if preprocessing.other is not None:
        # With dynamic sizes, OpenVINO multiplies matrices that do not fit, and reads what lies behind them.
        for size in (preprocessing.size, preprocessing.other):
            built.clone().reshape([count.get_length() if count.is_static else 1, *size, 3])
    return built


def _prove(compiled: Any, precision: str) -> str:  # noqa: ANN401 - a CompiledModel
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


def _library() -> Any:  # noqa: ANN401 - the module
    # Without this, importing it writes files into the home directory and reports to a server from a fork.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ModuleNotFoundError:
        raise MissingExtraError("openvino", "openvino", "engine openvino") from None
    return openvino


def _words(error: Exception) -> str:
    """Return what OpenVINO says, without the places in its sources."""
    lines = (
        line for line in str(error).splitlines() if "failed at" not in line and "Exception from" not in line
    )
    return one_line(" ".join(lines))
