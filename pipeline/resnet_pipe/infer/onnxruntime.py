"""ONNX Runtime: on the CPU, on CUDA, or with TensorRT."""

from __future__ import annotations

import queue
import sys
import time
from contextlib import redirect_stdout
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import DeviceError, EngineError, MissingExtraError, ModelError, ResnetPipeError
from resnet_pipe.infer import extract, pixels
from resnet_pipe.infer.engine import (
    EngineDescription,
    EngineInfo,
    EngineRequest,
    check_outputs,
    load_where_it_runs,
    one_line,
    rows_of,
)
from resnet_pipe.infer.normalize import Normalizer
from resnet_pipe.machine import processor

DESCRIPTION = EngineDescription(
    library="onnxruntime",
    distributions=("onnxruntime", "onnxruntime-gpu"),
    extra="onnxruntime",
    int8=True,
    compiles_for=("tensorrt",),
)
MAX_STREAMS = 8
"""Each has activations of its own; more threads than this help the streams instead of being some."""
_PROVIDERS = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
_GPU_WHEEL = "pip uninstall onnxruntime, then pip install onnxruntime-gpu; or use device: cpu"
_GPU_LIBRARIES = (
    "check that nvidia-smi lists a GPU; if a line above names a library that is missing:"
    " pip install 'onnxruntime-gpu[cuda,cudnn]' (and tensorrt); or use device: cpu"
)


def devices() -> dict[str, tuple[str, ...]]:
    """Return the precisions by kind of device.

    int8 is for the CPU: on CUDA, ONNX Runtime computes an int8 model in float32, and TensorRT wants int8
    models of another form (signed activations).

    Raises:
        MissingExtraError: onnxruntime is not installed.
    """
    _library()
    return {"cpu": ("fp32", "int8"), "cuda": ("fp32", "fp16"), "tensorrt": ("fp32", "fp16")}


def batch_size(device: str) -> int:
    """Return the batch size that is fastest: small where the caches of a core hold it, large on a GPU."""
    built_with_cuda = _PROVIDERS["cuda"] in _library().get_available_providers()
    return 64 if device.startswith(tuple(_PROVIDERS)) or (device == "auto" and built_with_cuda) else 8


def load(request: EngineRequest) -> OnnxRuntimeEngine:
    """Load an ONNX file into ONNX Runtime and run it once.

    `auto` takes CUDA if a forward pass really runs there, and otherwise the CPU, and says why. TensorRT is
    taken only when asked for: it compiles the network for minutes.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        DeviceError: the device or the precision is not to be had.
        ModelError: ONNX Runtime cannot load or run the model.
    """
    return load_where_it_runs(request, "cuda", OnnxRuntimeEngine)


class OnnxRuntimeEngine:
    """One network in one session that any number of threads may run.

    On the CPU each stream is one thread, which never waits for another one: threads that share a layer wait
    at its end for the one whose core a decoder has taken for a moment. Cores beyond `MAX_STREAMS` are a pool
    that helps whichever stream has work to share. Each stream normalises its batches itself, which takes less
    time than nodes in the graph. On a GPU the graph normalises: a quarter of the bytes has to be moved there.
    """

    def __init__(self, request: EngineRequest, note: str = "") -> None:
        self._library = _library()
        self._request = request
        self._note = note
        self._kind, _, index = request.device.partition(":")
        self._index = int(index or 0)
        _check_precision(request, self._kind)
        on_gpu = self._kind in _PROVIDERS
        self.streams = request.streams or (1 if on_gpu else min(request.threads, MAX_STREAMS))
        self._batch_size = request.batch_size
        self._inputs: queue.SimpleQueue[pixels.Buffer | _Normalized] = queue.SimpleQueue()
        for _ in range(self.streams):
            self._inputs.put(pixels.Buffer(request) if on_gpu else _Normalized(request))
        started = time.perf_counter()
        try:
            self._session = self._gpu_session() if on_gpu else self._cpu_session()
            self._load_s = time.perf_counter() - started
            self._check_batch()
            shapes: dict[str, tuple[int, ...]] = {one.name: () for one in self._session.get_outputs()}
            if shapes.keys() >= {*request.outputs}:
                first = self._run(request.outputs, self._blank(), request.batch_size)
                shapes.update({name: values.shape for name, values in first.items()})
        except ResnetPipeError:
            raise
        except Exception as error:  # those of ONNX Runtime have no class in common
            library = f"ONNX Runtime {self._library.__version__}"
            problem = f"{library} cannot run {request.model} on {request.device}: {one_line(error)}"
            if on_gpu:
                raise DeviceError(problem, _GPU_LIBRARIES) from None
            remedy = "use another engine, or a model made by `resnet-pipe convert`"
            raise ModelError(problem, remedy) from None
        check_outputs(request, shapes)
        # On a GPU, another batch size makes cuDNN search again and TensorRT compile again.
        self._pads = on_gpu or not self._takes_one()

    def infer(self, batch: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Execute the network; see `Engine.infer`."""
        # Another thread may have shrunk the batch size since this batch was cut.
        count = max(self._batch_size, len(batch)) if self._pads else len(batch)
        try:
            outputs = self._run(self._request.outputs, batch, count)
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed on a batch of {len(batch)}: {one_line(error)}") from None
        return {name: rows_of(values, len(batch)) for name, values in outputs.items()}

    def shrink(self, batch_size: int) -> None:
        """Use a smaller batch from now on; see `Engine.shrink`."""
        self._batch_size = batch_size

    def describe(self) -> EngineInfo:
        """Return what really runs."""
        on_gpu = self._kind in _PROVIDERS
        providers = ", ".join(self._session.get_providers())
        return EngineInfo(
            name="onnxruntime",
            version=self._library.__version__,
            device=f"{self._kind}:{self._index}" if on_gpu else "cpu",
            precision=self._request.precision,
            threads=0 if on_gpu else max(self._request.threads, self.streams),
            streams=self.streams,
            load_s=round(self._load_s, 3),
            proof=f"the session's providers: {providers}{'; no node is on the CPU' if on_gpu else ''}",
            note=self._note,
        )

    def _cpu_session(self) -> Any:  # noqa: ANN401 - an InferenceSession
        options = self._options()
        # The thread that calls run() works as well, and each stream is one.
        options.intra_op_num_threads = max(1, self._request.threads - self.streams + 1)
        if processor.saturates():
            # Sum exactly. With VNNI the rows are the same, but weights of 8 bits take 2.5 times as long so.
            options.add_session_config_entry("session.x64quantprecision", "1")
        # A thread that spins while it waits takes its core from a decoder.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = ["CPUExecutionProvider"]
        model: str | bytes = str(self._request.model)
        if self._request.extract:
            model = extract.extracted(self._request.model, self._request.outputs)
        return self._library.InferenceSession(model, options, providers=providers)

    def _gpu_session(self) -> Any:  # noqa: ANN401 - an InferenceSession
        """Make a session on a GPU, and prove that it is one.

        ONNX Runtime goes on with the CPU, in silence, when a provider's libraries cannot be loaded, and for
        every single node that a provider has no kernel for. Both are turned off here.
        """
        wanted = _PROVIDERS[self._kind]
        version = self._library.__version__
        if wanted not in self._library.get_available_providers():
            raise DeviceError(
                f"this onnxruntime {version} was built without {self._kind} ({wanted})", _GPU_WHEEL
            )
        if hasattr(self._library, "preload_dlls"):  # from 1.21: finds CUDA and cuDNN installed by pip
            with redirect_stdout(sys.stderr):  # where it prints what it does not find
                self._library.preload_dlls()
        options = self._options()
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        device = {"device_id": str(self._index)}
        half = self._request.precision == "fp16"
        providers = [(_PROVIDERS["cuda"], {**device, "use_tf32": "0"})]
        if self._kind == "tensorrt":
            providers.insert(0, (wanted, {**device, "trt_fp16_enable": str(int(half))}))
        request = self._request
        to_half = half and self._kind == "cuda"
        model = pixels.read(request.model, request.preprocessing, to_half, request.outputs)
        session = self._library.InferenceSession(model, options, providers=providers, enable_fallback=0)
        first = session.get_providers()[0]
        if first != wanted:
            raise DeviceError(f"onnxruntime {version} would run on {first}, not {wanted}", _GPU_LIBRARIES)
        return session

    def _options(self) -> Any:  # noqa: ANN401 - SessionOptions
        options = self._library.SessionOptions()
        options.log_severity_level = 4  # what goes wrong is raised; on the terminal it would stand twice
        return options

    def _check_batch(self) -> None:
        size, wanted = self._session.get_inputs()[0].shape[0], self._request.batch_size
        if isinstance(size, int) and size != wanted:
            raise ModelError(
                f"{self._request.model} takes exactly {size} images at a time, not {wanted}",
                f"infer.batch_size: {size}, or export it with a dynamic batch size",
            )

    def _run(self, names: tuple[str, ...], batch: NDArray[np.uint8], count: int) -> dict[str, Any]:
        """Execute the network on `count` images, of which `batch` gives the first ones."""
        image = self._inputs.get()
        try:
            taken, values = self._session.get_inputs()[0], image.fill(batch, count)
            feed = {taken.name: values.astype(np.float16) if taken.type == "tensor(float16)" else values}
            return dict(zip(names, self._session.run(names, feed), strict=True))
        finally:
            self._inputs.put(image)

    def _blank(self) -> NDArray[np.uint8]:
        return np.zeros((1, *self._request.preprocessing.size, 3), np.uint8)

    def _takes_one(self) -> bool:
        """Tell whether a short batch can be given as it is: a file may be made for one size only."""
        try:
            outputs = self._run(self._request.outputs, self._blank(), 1)
        except Exception:
            return False
        return all(len(values) == 1 for values in outputs.values())


class _Normalized:
    """The network's input for a stream on the CPU: float32, shape (count, 3, H, W)."""

    def __init__(self, request: EngineRequest) -> None:
        self._normalizer = Normalizer(request.preprocessing, request.batch_size)

    def fill(self, batch: NDArray[np.uint8], count: int) -> NDArray[np.float32]:
        self._normalizer.fill(batch)
        return self._normalizer.output[:count]


def _library() -> Any:  # noqa: ANN401 - the module
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("onnxruntime", "onnxruntime", "Engine onnxruntime") from None
    return onnxruntime


def _check_precision(request: EngineRequest, kind: str) -> None:
    had = devices().get(kind)
    if had is None:
        raise DeviceError(
            f"engine onnxruntime does not support device {request.device}",
            f"infer.device: {', '.join(devices())}",
        )
    if request.precision not in had:
        raise DeviceError(
            f"engine onnxruntime does not support {request.precision} on {kind}",
            f"infer.precision: {' or '.join(had)}",
        )
