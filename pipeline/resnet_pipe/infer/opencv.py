"""cv2.dnn on the CPU or on CUDA: the default engine."""

from __future__ import annotations

import os
import re
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import DeviceError, EngineError, ModelError, UnsupportedError
from resnet_pipe.infer import extract
from resnet_pipe.infer.batches import black, filler, rows_of
from resnet_pipe.infer.engine import Engine, EngineDescription, EngineInfo, EngineRequest, one_line
from resnet_pipe.infer.first_passes import execute, trusted
from resnet_pipe.infer.placement import Streams, existing, index_of, load_where_it_runs
from resnet_pipe.machine import cv2_import
from resnet_pipe.preprocess.network_input import Pixels

DESCRIPTION = EngineDescription(
    library="cv2",
    distributions=(
        "opencv-python-headless",
        "opencv-python",
        "opencv-contrib-python-headless",
        "opencv-contrib-python",
    ),
    extra="",
    any_size=True,
)
_CUDA_WHEEL = "install a cv2 with CUDA (docker/build-opencv-cuda.sh builds one), or use device: cpu"
MAX_STREAMS = 4
"""On the CPU. With more cores, a network for each would take too much memory; one uses all of them."""


def devices() -> dict[str, tuple[str, ...]]:
    """Return the precisions by kind of device."""
    return {"cpu": ("fp32",), "cuda": ("fp32", "fp16")}


def batch_size(device: str) -> int:
    """Return the batch size that is fastest: small where the caches of a core hold it, large on a GPU."""
    cv2_import.require()
    import cv2

    on_cuda = device.startswith("cuda") or (device == "auto" and cv2.cuda.getCudaEnabledDeviceCount() > 0)
    return 64 if on_cuda else 8


def load(request: EngineRequest) -> Engine:
    """Load an ONNX file into cv2.dnn and run it once; see `EngineModule.load`."""
    cv2_import.require()
    return trusted(request, lambda wanted: load_where_it_runs(wanted, "cuda", OpenCvEngine))


class OpenCvEngine:
    """One network in cv2.dnn, on one or several streams. Normalises on the CPU.

    On the CPU with few cores, each core runs a stream of its own: cv2.dnn joins its threads after every
    layer, so that a decoder that takes one core for a moment would hold up all of them.
    """

    def __init__(self, request: EngineRequest, note: str = "") -> None:
        import cv2

        self._request = request
        self._note = note
        self._on_cuda = request.device != "cpu"
        if request.precision != "fp32" and not self._on_cuda:
            raise DeviceError(
                f"engine opencv does not support {request.precision} on the CPU",
                "infer.precision: fp32, or a CUDA device",
            )
        suitable = request.threads if request.threads <= MAX_STREAMS else 1
        self.streams = 1 if self._on_cuda else request.streams or suitable
        self._threads = max(1, request.threads // self.streams)
        cv2.setNumThreads(self._threads)
        if "OPENCV_LOG_LEVEL" not in os.environ:  # what it prints is in its exceptions as well
            cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        started = time.perf_counter()
        self._device = _select_cuda(cv2, request.device) if self._on_cuda else "cpu"
        try:
            streams = [_Stream(_read(cv2, request, self._on_cuda), request) for _ in range(self.streams)]
            self._load_s = time.perf_counter() - started
            self.first = execute(request, streams[0].run, cv2.error, short=not self._on_cuda)
            self._proof = _prove(streams[0].net.dump(), self._on_cuda)
            self._pads = not self.first.any_size
            for stream in streams[1:]:
                stream.run(black(request, request.batch_size))
        except cv2.error as error:
            version, words = cv2.__version__, one_line(error)
            problem = f"cv2.dnn {version} cannot run {request.model} on {self._device}: {words}"
            if self._on_cuda:
                remedy = "infer.device: cpu, for which cv2.dnn has more operators"
                remedy += "; or, if this file has not been converted, resnet-pipe convert FILE"
                raise UnsupportedError(problem, remedy) from None
            raise ModelError(problem) from None
        self._batch_size = request.batch_size
        self._streams = Streams(streams)

    def infer(self, batch: Pixels) -> dict[str, NDArray[np.float32]]:
        """Execute the network; see `Engine.infer`."""
        import cv2

        try:
            with self._streams.one() as stream:
                if self._on_cuda:  # every thread has its own current device
                    cv2.cuda.setDevice(index_of(self._request.device))
                outputs = stream.run(batch, self._batch_size if self._pads else 0)
        except (cv2.error, MemoryError) as error:
            raise EngineError(f"cv2.dnn failed on a batch of {len(batch)}: {one_line(error)}") from None
        return {name: rows_of(self._request, outputs[name], len(batch)) for name in self._request.outputs}

    def shrink(self, batch_size: int) -> None:
        """Use a smaller batch from now on; see `Engine.shrink`."""
        self._batch_size = batch_size

    def describe(self) -> EngineInfo:
        """Return what really runs."""
        import cv2

        return EngineInfo(
            name="opencv",
            version=cv2.__version__,
            device=self._device,
            precision=self._request.precision,
            threads=0 if self._on_cuda else self._threads * self.streams,
            streams=self.streams,
            load_s=round(self._load_s, 3),
            proof=self._proof,
            note=self._note,
        )


class _Stream:
    """A network that one thread executes, with the input it reads."""

    def __init__(self, net: Any, request: EngineRequest) -> None:  # noqa: ANN401 - cv2.dnn.Net
        self.net = net
        self._fill = filler(request)
        # OpenCV 5 gives all outputs of a network or none.
        self._names = list(net.getUnconnectedOutLayersNames())

    def run(self, batch: Pixels, count: int = 0) -> dict[str, Any]:
        """Execute the network on a batch, with other images added if that is not `count` of them."""
        # Always float32: one uint8 input poisons later inputs of the classic engine.
        self.net.setInput(self._fill(batch, count))
        return dict(zip(self._names, self.net.forward(self._names), strict=True))


def _read(cv2: Any, request: EngineRequest, on_cuda: bool) -> Any:  # noqa: ANN401 - the module and a Net
    model: Any = os.fsencode(request.model)  # cv2 crashes on a str whose bytes are not UTF-8
    if request.extract:
        model = np.frombuffer(extract.extracted(request.model, request.outputs), np.uint8)
    # OpenCV 5 has several engines. The classic one is where CUDA works; the default one is faster on
    # the CPU. OpenCV 4 has one, and no names for it.
    engine = [cv2.dnn.ENGINE_CLASSIC] if on_cuda and hasattr(cv2.dnn, "ENGINE_CLASSIC") else []
    net = cv2.dnn.readNetFromONNX(model, *engine)
    if on_cuda:
        half = request.precision == "fp16"
        net.setPreferableBackend(cv2.dnn.DNN_BACKEND_CUDA)
        net.setPreferableTarget(cv2.dnn.DNN_TARGET_CUDA_FP16 if half else cv2.dnn.DNN_TARGET_CUDA)
    else:
        net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    return net


def _select_cuda(cv2: Any, device: str) -> str:  # noqa: ANN401 - the module
    """Make `cuda` or `cuda:N` the current device and return its full name; a `DeviceError` says why not."""
    count = cv2.cuda.getCudaEnabledDeviceCount()
    if count == 0 and not re.search(r"NVIDIA CUDA:\s*YES", cv2.getBuildInformation()):
        raise DeviceError("this OpenCV has no CUDA", _CUDA_WHEEL, "cuda")
    if count <= 0:
        raise DeviceError(
            "cv2 was built with CUDA, but finds no NVIDIA driver or GPU",
            "check that nvidia-smi lists a GPU (in a container: run it with --gpus all)",
            "cuda",
        )
    index = existing(device, count)
    info = cv2.cuda.DeviceInfo(index)
    architecture = f"{info.majorVersion()}.{info.minorVersion()}"
    if not info.isCompatible():
        raise DeviceError(
            f"this cv2 has no code for the architecture of {device}, {architecture}",
            f"docker/build-opencv-cuda.sh --arch {architecture}: a cv2 with CUDA_ARCH_BIN={architecture}",
            "cuda",
        )
    if not cv2.dnn.getAvailableTargets(cv2.dnn.DNN_BACKEND_CUDA):
        problem = "this cv2 has CUDA, but cv2.dnn was built without it (no cuDNN)"
        raise DeviceError(problem, _CUDA_WHEEL, "cuda")
    cv2.cuda.setDevice(index)
    return f"cuda:{index} (architecture {architecture})"


def _prove(dump: str, on_cuda: bool) -> str:
    """Return in words where the layers of a network ran, from its dump after a forward pass.

    The classic engine writes the backend of each layer into it, and the target of the whole network, which is
    no proof: OCV/CPU, CUDA/CUDA_FP16, and OCV/CUDA_FP16 for a layer that CUDA lacks and the CPU computes. The
    input is not one of them. The graph engine of OpenCV 5.0 runs on the CPU only, and writes its operations
    without a backend.

    Raises:
        UnsupportedError: CUDA was asked for, and a layer ran elsewhere or nothing is known.
        DeviceError: the CPU was asked for, and a layer ran on CUDA.
    """
    on_gpu, on_cpu = dump.count("CUDA/CUDA"), dump.count("OCV/CPU") + dump.count("OCV/CUDA")
    if not on_cuda:
        if on_gpu:
            raise DeviceError(f"the CPU was requested, but {on_gpu} layers ran on CUDA")
        graph = f"{dump.count('// op #')} operations of the CPU graph"
        return f"after the first forward pass: {f'{on_cpu} layers on OCV/CPU' if on_cpu else graph}"
    if on_gpu == 0 or on_cpu > 0:
        raise UnsupportedError(
            f"CUDA was requested, but only {on_gpu} layers ran there and {on_cpu} on the CPU: cv2.dnn has no"
            " CUDA kernel for these",
            "infer.device: cpu; a ResNet made by `resnet-pipe convert` has CUDA kernels for all its layers",
        )
    return f"after the first forward pass: {on_gpu} layers on CUDA, {on_cpu} on the CPU"
