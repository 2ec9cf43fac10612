"""Sessions of ONNX Runtime: on the CPU, and on a GPU with the proof that it is one."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import Any

from resnet_pipe.errors import DeviceError, MissingExtraError
from resnet_pipe.infer import extract, pixels
from resnet_pipe.infer.engine import EngineRequest
from resnet_pipe.machine import processor

PROVIDERS = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
_GPU_WHEEL = "pip uninstall onnxruntime, then pip install onnxruntime-gpu; or use device: cpu"
GPU_LIBRARIES = (
    "check that nvidia-smi lists a GPU; if a line above names a library that is missing:"
    " pip install 'onnxruntime-gpu[cuda,cudnn]' (and tensorrt); or use device: cpu"
)


def library() -> Any:  # noqa: ANN401 - the module
    """Import ONNX Runtime; a `MissingExtraError` says that it is not installed."""
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("onnxruntime", "onnxruntime", "Engine onnxruntime") from None
    return onnxruntime


def cpu_session(request: EngineRequest, streams: int) -> Any:  # noqa: ANN401 - an InferenceSession
    """Make a session on the CPU that so many threads may run."""
    options = _options()
    if request.as_written:
        options.graph_optimization_level = library().GraphOptimizationLevel.ORT_DISABLE_ALL
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
    return library().InferenceSession(model, options, providers=["CPUExecutionProvider"])


def gpu_session(request: EngineRequest) -> Any:  # noqa: ANN401 - an InferenceSession
    """Make a session on a GPU, and prove that it is one; a `DeviceError` if it would run elsewhere.

    ONNX Runtime goes on with the CPU, in silence, when a provider's libraries cannot be loaded, and for
    every single node that a provider has no kernel for. Both are turned off here.
    """
    onnxruntime = library()
    kind, _, index = request.device.partition(":")
    wanted = PROVIDERS[kind]
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
    providers = [(PROVIDERS["cuda"], {**device, "use_tf32": "0"})]
    if kind == "tensorrt":
        providers.insert(0, (wanted, {**device, "trt_fp16_enable": str(int(half))}))
        half = False  # of the file: TensorRT converts it itself
    model = pixels.read(request.model, request.preprocessing, half, request.outputs)
    session = onnxruntime.InferenceSession(model, options, providers=providers, enable_fallback=0)
    first = session.get_providers()[0]
    if first != wanted:
        raise DeviceError(f"onnxruntime {version} would run on {first}, not {wanted}", GPU_LIBRARIES)
    return session


def _options() -> Any:  # noqa: ANN401 - SessionOptions
    options = library().SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised; on the terminal it would stand twice
    return options
