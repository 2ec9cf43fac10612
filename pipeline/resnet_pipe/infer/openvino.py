"""OpenVINO on the CPU: float32, bfloat16 where the processor has it, and int8 models."""

from __future__ import annotations

import io
import queue
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import DeviceError, EngineError, MissingExtraError, ModelError
from resnet_pipe.infer import extract, saturation
from resnet_pipe.infer.engine import (
    EngineDescription,
    EngineInfo,
    EngineRequest,
    check_outputs,
    one_line,
    rows_of,
)
from resnet_pipe.machine import processor
from resnet_pipe.model.network import inspect

DESCRIPTION = EngineDescription(
    library="openvino", distributions=("openvino",), extra="openvino", int8=True, saturates=True
)
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""What to compute in where the model does not say it itself. An int8 model says it for nearly all layers."""
_LAYER_PRECISIONS = {"fp32": {"f32"}, "bf16": {"bf16"}, "int8": {"u8", "i8"}}
"""OpenVINO's names for what a layer takes."""
_PRODUCTS = {"Convolution", "FullyConnected", "MatMul"}
"""OpenVINO's names of the layers that take the time."""


def devices() -> dict[str, tuple[str, ...]]:
    """Return the precisions by kind of device.

    OpenVINO's own choice is bf16 on every processor that has instructions for it. That pays only with AMX:
    on a Xeon whose AMX was hidden, leaving AVX512_BF16, ResNet-50 took 92 ms of a core in bf16, 54 in fp32.

    Raises:
        MissingExtraError: OpenVINO is not installed.
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


def load(request: EngineRequest) -> OpenVinoEngine:
    """Compile an ONNX file for the CPU and run it once.

    Raises:
        DeviceError: the device or the precision is not to be had.
        MissingExtraError: OpenVINO is not installed.
        ModelError: OpenVINO cannot load or run the model, or would compute it wrong here.
    """
    had = devices()["cpu"]
    if request.device not in ("auto", "cpu"):
        raise DeviceError(
            f"engine openvino does not support device {request.device} here", "infer.device: cpu"
        )
    if request.precision not in had:
        raise DeviceError(
            f"engine openvino does not support {request.precision} on this processor",
            f"use one of: {', '.join(had)}",
        )
    if request.precision == "int8":
        problem = saturation.problem("openvino", inspect(request.model))
        if problem is not None:
            raise ModelError(f"{request.model}: {problem}", saturation.REMEDY)
    return OpenVinoEngine(request)


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
            settings = _settings(request, core.get_property("CPU", "RANGE_FOR_STREAMS")[1])
            self._compiled = core.compile_model(network, "CPU", settings)
            self.streams: int = self._compiled.get_property("NUM_STREAMS")
            if request.streams not in (None, self.streams):
                raise DeviceError(
                    f"{request.streams} streams were requested, but OpenVINO runs {self.streams} here",
                    f"infer.streams: {self.streams}, or more infer.threads if there are more cores",
                )
            streams = [_Stream(ov, self._compiled, request) for _ in range(self.streams)]
            self._load_s = time.perf_counter() - started
            self._pads = not _takes_one(streams[0], request)
            # A network that takes one image and two takes as many as there are; a whole batch takes longer.
            count = request.batch_size if self._pads else min(2, request.batch_size)
            shapes = {name: output.shape for name, output in streams[0].try_out(count).items()}
            check_outputs(replace(request, batch_size=count), shapes)
            self._proof = _prove(self._compiled, request.precision)
        except (DeviceError, ModelError):
            raise
        except Exception as error:  # those of OpenVINO's frontends have no base of their own
            raise ModelError(
                f"OpenVINO {self._version} cannot run {request.model}: {_words(error)}"
            ) from None
        self._idle: queue.SimpleQueue[_Stream] = queue.SimpleQueue()
        for stream in streams:
            self._idle.put(stream)

    def infer(self, batch: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Execute the network; see `Engine.infer`."""
        whole = np.ascontiguousarray(batch)
        if self._pads and len(batch) < self._request.batch_size:
            whole = np.zeros((self._request.batch_size, *batch.shape[1:]), np.uint8)
            whole[: len(batch)] = batch
        stream = self._idle.get()
        try:
            outputs = stream.forward(whole)
            # Copied while the stream is still ours: the next batch overwrites them.
            return {name: rows_of(outputs[name], len(batch)) for name in self._request.outputs}
        except (RuntimeError, MemoryError) as error:
            raise EngineError(f"OpenVINO failed on a batch of {len(batch)}: {_words(error)}") from None
        finally:
            self._idle.put(stream)

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

    def __init__(self, ov: Any, compiled: Any, request: EngineRequest) -> None:  # noqa: ANN401 - no stubs
        self._tensor = ov.Tensor
        self._request = compiled.create_infer_request()
        self._outputs = {name: port for port in compiled.outputs for name in sorted(port.names)}
        self._image_shape = (*request.preprocessing.size, 3)

    def forward(self, batch: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Execute the network on a batch that is contiguous, and return views of all of its outputs."""
        self._request.set_input_tensor(self._tensor(batch, shared_memory=True))
        self._request.infer(share_outputs=True)
        return {name: self._request.get_tensor(port).data for name, port in self._outputs.items()}

    def try_out(self, count: int) -> dict[str, NDArray[Any]]:
        """Execute the network on `count` black images."""
        return self.forward(np.zeros((count, *self._image_shape), np.uint8))


def _library() -> Any:  # noqa: ANN401 - the module
    # Without this, importing it writes files into the home directory and reports to a server from a fork.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ModuleNotFoundError:
        raise MissingExtraError("openvino", "openvino", "engine openvino") from None
    return openvino


def _settings(request: EngineRequest, cores: int) -> dict[str, Any]:
    settings = {
        "INFERENCE_PRECISION_HINT": _HINTS[request.precision],
        "INFERENCE_NUM_THREADS": request.threads,
        "PERFORMANCE_HINT": "THROUGHPUT",
        # With fewer threads than cores, every program would pin its own to the same first cores.
        "ENABLE_CPU_PINNING": request.threads >= cores,
    }
    return settings if request.streams is None else {**settings, "NUM_STREAMS": request.streams}


def _read(ov: Any, request: EngineRequest) -> Any:  # noqa: ANN401 - the module and a Model
    """Return the network with uint8 NHWC RGB input, which normalises in torchvision's order."""
    # By name: Core.read_model tries every format it knows on a file that is none of them.
    onnx = ov.frontend.FrontEndManager().load_by_framework("onnx")
    model: Path | io.BytesIO = request.model
    if request.extract:
        model = io.BytesIO(extract.extracted(request.model, request.outputs))
    network = onnx.convert(onnx.load(model))
    count = network.input().partial_shape[0]
    if count.is_static and count.get_length() != request.batch_size:
        raise ModelError(
            f"{request.model} takes exactly {count.get_length()} images at a time, not {request.batch_size}",
            f"infer.batch_size: {count.get_length()}, or export it with a dynamic batch size",
        )
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


def _prove(compiled: Any, precision: str) -> str:  # noqa: ANN401 - a CompiledModel
    """Return in words what the layers of a compiled network compute in.

    Raises:
        DeviceError: not what was asked for.
    """
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


def _takes_one(stream: _Stream, request: EngineRequest) -> bool:
    """Tell whether the network can be given a short batch as it is, which costs nothing then."""
    try:
        outputs = stream.try_out(1)
    except RuntimeError:
        return False
    return all(len(outputs[name]) == 1 for name in request.outputs if name in outputs)


def _words(error: Exception) -> str:
    """Return what OpenVINO says, without the places in its sources."""
    lines = (
        line for line in str(error).splitlines() if "failed at" not in line and "Exception from" not in line
    )
    return one_line(" ".join(lines))
