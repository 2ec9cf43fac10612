"""MLX on Apple's GPU, or on the CPU, with the weights of the ONNX file."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import DeviceError, EngineError, MissingExtraError, ModelError
from resnet_pipe.infer.batches import padded, rows_of
from resnet_pipe.infer.engine import Engine, EngineDescription, EngineInfo, EngineRequest, one_line
from resnet_pipe.infer.first_passes import execute, trusted
from resnet_pipe.infer.placement import check_supported, load_where_it_runs
from resnet_pipe.preprocess.network_input import Pixels

DESCRIPTION = EngineDescription(library="mlx", distributions=("mlx",), extra="mlx", any_size=True)
_ERRORS = (RuntimeError, ValueError, IndexError, TypeError, MemoryError)
"""What MLX raises; std::bad_alloc is a MemoryError."""


def devices() -> dict[str, tuple[str, ...]]:
    """Return the precisions by kind of device."""
    _library()
    return {"cpu": ("fp32",), "mps": ("fp32", "fp16", "bf16")}


def batch_size(device: str) -> int:
    """Return the batch size that is fastest: small where caches hold it, larger on the GPU."""
    gpu = device == "mps" or (device == "auto" and bool(_library().metal.is_available()))
    return 32 if gpu else 8


def load(request: EngineRequest) -> Engine:
    """Build the network of an ONNX file from MLX's functions and run it once; see `EngineModule.load`."""
    return trusted(request, lambda wanted: load_where_it_runs(wanted, "mps", MlxEngine))


class MlxEngine:
    """One network in MLX. The device normalises.

    MLX ties its streams to threads, so one thread of the engine's own loads the network and executes it,
    whoever calls.
    """

    streams = 1

    def __init__(self, request: EngineRequest, note: str = "") -> None:
        check_supported("mlx", request, devices(), note)
        self._request = request
        self._note = note
        mx = _library()
        if request.device == "mps" and not mx.metal.is_available():
            here = "this is not macOS" if sys.platform != "darwin" else "MLX finds none"
            raise DeviceError(f"device mps is Apple's GPU: {here}", "infer.device: cpu")
        from concurrent.futures import ThreadPoolExecutor

        self._thread = ThreadPoolExecutor(1, "mlx")
        try:
            self._thread.submit(self._load).result()
        except _ERRORS as error:
            version, words = mx.__version__, one_line(error)
            problem = f"MLX {version} cannot run {request.model} on {request.device}: {words}"
            raise (ModelError if request.device == "cpu" else DeviceError)(problem) from None

    def _load(self) -> None:
        mx = _library()
        from resnet_pipe.infer.mlx_network import MlxNetwork
        from resnet_pipe.infer.onnx_graph.graph import read

        request = self._request
        on_gpu = request.device == "mps"
        self._device = mx.Device(mx.gpu if on_gpu else mx.cpu)
        started = time.perf_counter()
        dtype = {"fp32": mx.float32, "fp16": mx.float16, "bf16": mx.bfloat16}[request.precision]
        with mx.stream(self._device):
            network = MlxNetwork(read(request.model, request.outputs), request.preprocessing, dtype)
        self._load_s = time.perf_counter() - started
        # On the CPU, compiling would call a C++ compiler, which may not be there.
        self._network: Any = mx.compile(network) if on_gpu else network
        self.first = execute(request, self._forward, _ERRORS)
        self._fixed = not self.first.any_size
        self._size = request.batch_size if self._fixed or on_gpu else 0
        """What a short batch is padded to: another size would be compiled again."""

    def infer(self, batch: Pixels) -> dict[str, NDArray[np.float32]]:
        """Execute the network; see `Engine.infer`."""
        try:
            outputs = self._thread.submit(self._forward, padded(batch, self._size)).result()
        except _ERRORS as error:
            raise EngineError(f"MLX failed on a batch of {len(batch)}: {one_line(error)}") from None
        return {name: rows_of(self._request, outputs[name], len(batch)) for name in self._request.outputs}

    def shrink(self, batch_size: int) -> None:
        """Use a smaller batch from now on; see `Engine.shrink`. A network made for one size stays at it."""
        if not self._fixed:
            self._size = min(self._size, batch_size)

    def describe(self) -> EngineInfo:
        """Return what really runs."""
        return EngineInfo(
            name="mlx",
            version=_library().__version__,
            device=self._request.device,
            precision=self._request.precision,
            threads=0 if self._request.device == "mps" else 1,
            streams=self.streams,
            load_s=round(self._load_s, 3),
            proof=f"a forward pass ran on MLX's {self._device}",
            note=self._note,
        )

    def _forward(self, batch: Pixels) -> dict[str, NDArray[np.float32]]:
        mx = _library()
        with mx.stream(self._device):
            outputs = self._network(mx.array(batch))
            mx.eval(outputs)
        return {name: np.array(output) for name, output in outputs.items()}


def _library() -> Any:  # noqa: ANN401 - the module
    try:
        import mlx.core as mx
    except ImportError:  # on Linux also where mlx is installed without its back end, as by `pip install mlx`
        raise MissingExtraError("mlx", "mlx", "engine mlx") from None
    return mx
