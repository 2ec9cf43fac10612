"""A quantised network in float32: the reference for an int8 model whose float32 source is not at hand.

ONNX Runtime, told to change nothing, executes QuantizeLinear and DequantizeLinear as they stand, and all that
is between them in float32: what the file says, without the int8 arithmetic of any engine.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import MissingExtraError, ModelError
from resnet_pipe.infer.batches import check_outputs
from resnet_pipe.infer.engine import EngineInfo, EngineRequest
from resnet_pipe.infer.normalize import Normalizer


def devices() -> dict[str, tuple[str, ...]]:
    """Return the precisions by kind of device."""
    return {"cpu": ("fp32",)}


def batch_size(_device: str) -> int:
    """Return a batch size that fits everywhere."""
    return 8


def load(request: EngineRequest) -> QdqEngine:
    """Load a quantised network.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        ModelError: it cannot run the network.
    """
    return QdqEngine(request)


class QdqEngine:
    """One session of ONNX Runtime without any optimisation, on one stream; see `Engine`."""

    streams = 1

    def __init__(self, request: EngineRequest) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise MissingExtraError("onnxruntime", "onnxruntime", "the reference of an int8 model") from None
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = request.threads
        self._request = request
        self._version: str = onnxruntime.__version__
        self._normalizer = Normalizer(request.preprocessing, request.batch_size)
        started = time.perf_counter()
        try:
            self._session = onnxruntime.InferenceSession(
                str(request.model), options, providers=["CPUExecutionProvider"]
            )
            self._load_s = time.perf_counter() - started
            shapes = {name: output.shape for name, output in self._forward().items()}
        except Exception as error:  # ONNX Runtime has a class for each of its status codes
            text = " ".join(str(error).split())[:300]
            raise ModelError(f"onnxruntime {self._version} cannot run {request.model}: {text}") from None
        check_outputs(request, shapes)

    def infer(self, batch: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Execute the network; see `Engine.infer`."""
        self._normalizer.fill(batch)
        outputs = self._forward()
        return {name: outputs[name][: len(batch)] for name in self._request.outputs}

    def shrink(self, batch_size: int) -> None:
        """Do nothing: no run uses this engine."""

    def describe(self) -> EngineInfo:
        """Return what really runs."""
        proof = "no optimisation, so nothing computes in int8"
        threads = self._request.threads
        return EngineInfo("onnxruntime", self._version, "cpu", "fp32", threads, 1, self._load_s, proof)

    def _forward(self) -> dict[str, Any]:
        feed = {self._session.get_inputs()[0].name: self._normalizer.output}
        names = [output.name for output in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, feed), strict=True))
