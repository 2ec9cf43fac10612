"""ONNX Runtime: on the CPU, on CUDA, or with TensorRT."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import DeviceError, EngineError, MissingExtraError, ModelError, ResnetPipeError
from resnet_pipe.infer import batches, extract
from resnet_pipe.infer.engine import Engine, EngineDescription, EngineInfo, EngineRequest, one_line
from resnet_pipe.infer.first_passes import execute, trusted
from resnet_pipe.infer.placement import Streams, check_supported, index_of, load_where_it_runs
from resnet_pipe.machine import processor
from resnet_pipe.preprocess.network_input import Pixels

DESCRIPTION = EngineDescription(
    library="onnxruntime",
    distributions=("onnxruntime", "onnxruntime-gpu"),
    extra="onnxruntime",
    int8=True,
    compiles_for=("tensorrt",),
    any_size=True,
)
_PROVIDERS = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
_GPU_WHEEL = "pip uninstall onnxruntime, then pip install onnxruntime-gpu; or use device: cpu"
_GPU_LIBRARIES = (
    "check that nvidia-smi lists a GPU; if a line above names a library that is missing:"
    " pip install 'onnxruntime-gpu[cuda,cudnn]' (and tensorrt); or use device: cpu"
)
MAX_STREAMS = 8
"""Each has activations of its own; more threads than this help the streams instead of being some."""


def devices() -> dict[str, tuple[str, ...]]:
    """Return the precisions by kind of device.

    int8 is for the CPU: CUDA computes such a model in float32, and TensorRT wants another form of it (signed
    activations).
    """
    _library()
    return {"cpu": ("fp32", "int8"), "cuda": ("fp32", "fp16"), "tensorrt": ("fp32", "fp16")}


def batch_size(device: str) -> int:
    """Return the batch size that is fastest: small where the caches of a core hold it, large on a GPU."""
    built_with_cuda = _PROVIDERS["cuda"] in _library().get_available_providers()
    return 64 if device.startswith(tuple(_PROVIDERS)) or (device == "auto" and built_with_cuda) else 8


def load(request: EngineRequest) -> Engine:
    """Load an ONNX file into ONNX Runtime and run it once; see `EngineModule.load`.

    TensorRT is taken only when asked for: it compiles the network for minutes.
    """
    return trusted(request, lambda wanted: load_where_it_runs(wanted, "cuda", OnnxRuntimeEngine))


class OnnxRuntimeEngine:
    """One network in one session that any number of threads may run.

    On the CPU each stream is one thread, which never waits for another one: threads that share a layer wait
    at its end for the one whose core a decoder has taken for a moment. Cores beyond `MAX_STREAMS` are a pool
    that helps whichever stream has work to share. Each stream normalises its batches itself, which takes less
    time than nodes in the graph. On a GPU the graph normalises: a quarter of the bytes has to be moved there.
    """

    def __init__(self, request: EngineRequest, note: str = "") -> None:
        self._request = request
        self._note = note
        check_supported("onnxruntime", request, devices(), note)
        self._on_gpu = on_gpu = request.device.startswith(tuple(_PROVIDERS))
        self.streams = request.streams or (1 if on_gpu else min(request.threads, MAX_STREAMS))
        self._batch_size = request.batch_size
        self._inputs: Streams[Callable[[Pixels, int], NDArray[Any]]] = Streams(
            batches.padded if on_gpu else batches.filler(request) for _ in range(self.streams)
        )
        started = time.perf_counter()
        try:
            self._session = _gpu_session(request) if on_gpu else _cpu_session(request, self.streams)
            self._load_s = time.perf_counter() - started
            batches.check_batch_size(request, self._session.get_inputs()[0].shape[0])
            shapes: dict[str, tuple[int, ...]] = {one.name: () for one in self._session.get_outputs()}
            if not shapes.keys() >= {*request.outputs}:
                batches.check_outputs(request, shapes)
            # On a GPU, another batch size makes cuDNN search again and TensorRT compile again.
            self.first = execute(request, self._run, Exception, short=not on_gpu)
            self._pads = not self.first.any_size
        except ResnetPipeError:
            raise
        except Exception as error:  # those of ONNX Runtime have no class in common
            version, words = _library().__version__, one_line(error)
            problem = f"ONNX Runtime {version} cannot run {request.model} on {request.device}: {words}"
            if on_gpu:
                raise DeviceError(problem, _GPU_LIBRARIES) from None
            remedy = "use another engine, or a model made by `resnet-pipe convert`"
            raise ModelError(problem, remedy) from None

    def infer(self, batch: Pixels) -> dict[str, NDArray[np.float32]]:
        """Execute the network; see `Engine.infer`."""
        try:
            outputs = self._run(batch, self._batch_size if self._pads else 0)
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed on a batch of {len(batch)}: {one_line(error)}") from None
        return {name: batches.rows_of(self._request, values, len(batch)) for name, values in outputs.items()}

    def shrink(self, batch_size: int) -> None:
        """Use a smaller batch from now on; see `Engine.shrink`."""
        self._batch_size = batch_size

    def describe(self) -> EngineInfo:
        """Return what really runs."""
        device = self._request.device
        proof = f"the session's providers: {', '.join(self._session.get_providers())}"
        if self._on_gpu:
            device = f"{device.partition(':')[0]}:{index_of(device)}"
            proof += "; no node is on the CPU"
        if self._request.as_written:
            proof += "; no optimisation, so nothing computes in int8"
        return EngineInfo(
            name="onnxruntime",
            version=_library().__version__,
            device=device,
            precision=self._request.precision,
            threads=0 if self._on_gpu else max(self._request.threads, self.streams),
            streams=self.streams,
            load_s=round(self._load_s, 3),
            proof=proof,
            note=self._note,
        )

    def _run(self, batch: Pixels, count: int = 0) -> dict[str, Any]:
        """Execute the network on a batch, with other images added if that is not `count` of them."""
        names = self._request.outputs
        with self._inputs.one() as fill:
            taken, values = self._session.get_inputs()[0], fill(batch, count)
            feed = {taken.name: values.astype(np.float16) if taken.type == "tensor(float16)" else values}
            return dict(zip(names, self._session.run(names, feed), strict=True))


def _cpu_session(request: EngineRequest, streams: int) -> Any:  # noqa: ANN401 - an InferenceSession
    """Make a session on the CPU that so many threads may run."""
    options = _options()
    if request.as_written:
        options.graph_optimization_level = _library().GraphOptimizationLevel.ORT_DISABLE_ALL
    # The thread that calls run() works as well, and each stream is one.
    options.intra_op_num_threads = max(1, request.threads - streams + 1)
    if processor.saturates():
        # Sum exactly. With VNNI the rows are the same, but weights of 8 bits take 2.5 times as long so.
        options.add_session_config_entry("session.x64quantprecision", "1")
    # A thread that spins while it waits takes its core from a decoder.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    model: str | bytes = str(request.model)
    if request.extract:
        model = extract.extracted(request.model, request.outputs)
    return _library().InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _gpu_session(request: EngineRequest) -> Any:  # noqa: ANN401 - an InferenceSession
    """Make a session on a GPU, and prove that it is one; a `DeviceError` if it would run elsewhere.

    ONNX Runtime goes on with the CPU, in silence, when a provider's libraries cannot be loaded, and for
    every single node that a provider has no kernel for. Both are turned off here.
    """
    onnxruntime = _library()
    kind, _, index = request.device.partition(":")
    wanted = _PROVIDERS[kind]
    version = onnxruntime.__version__
    if wanted not in onnxruntime.get_available_providers():
        raise DeviceError(f"this onnxruntime {version} was built without {kind} ({wanted})", _GPU_WHEEL)
    if hasattr(onnxruntime, "preload_dlls"):  # from 1.21: finds CUDA and cuDNN installed by pip
        with redirect_stdout(sys.stderr):  # where it prints what it does not find
            onnxruntime.preload_dlls()
    options = _options()
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    device = {"device_id": index or "0"}
    half = request.precision == "fp16"
    providers = [(_PROVIDERS["cuda"], {**device, "use_tf32": "0"})]
    if request.preprocessing.other is not None:
        if kind == "tensorrt":
            problem = "TensorRT compiles a network for one size, and images have many (fit: shortest)"
            raise DeviceError(problem, f"infer.device: cuda{index and ':'}{index}")
        providers[0][1]["cudnn_conv_algo_search"] = "HEURISTIC"  # instead of a search for every size
    if kind == "tensorrt":
        providers.insert(0, (wanted, {**device, "trt_fp16_enable": str(int(half))}))
        half = False  # of the file: TensorRT converts it itself
    model = extract.normalizing(request.model, request.preprocessing, half, request.outputs)
    session = onnxruntime.InferenceSession(model, options, providers=providers, enable_fallback=0)
    first = session.get_providers()[0]
    if first != wanted:
        raise DeviceError(f"onnxruntime {version} would run on {first}, not {wanted}", _GPU_LIBRARIES)
    return session


def _options() -> Any:  # noqa: ANN401 - SessionOptions
    options = _library().SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised; on the terminal it would stand twice
    return options


def _library() -> Any:  # noqa: ANN401 - the module
    """Import ONNX Runtime; a `MissingExtraError` says that it is not installed."""
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("onnxruntime", "onnxruntime", "engine onnxruntime") from None
    return onnxruntime
