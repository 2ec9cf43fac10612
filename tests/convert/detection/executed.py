"""A graph executed by an engine's own library, for the tests: an array goes in, all outputs come out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto

Floats: TypeAlias = NDArray[np.float32]
Executed: TypeAlias = Callable[[Floats], Mapping[str, Floats]]


def _onnxruntime(proto: ModelProto) -> Executed:
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra `onnxruntime`")
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    return lambda array: dict(zip(names, session.run(names, {"input": array}), strict=True))


def _openvino(proto: ModelProto) -> Executed:
    openvino = pytest.importorskip("openvino", reason="needs the extra `openvino`")
    core = openvino.Core()
    model = core.compile_model(
        core.read_model(proto.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    names = [one.name for one in proto.graph.output]

    def execute(array: Floats) -> Mapping[str, Floats]:
        given = model([array])
        return {name: np.array(given[name]) for name in names}

    return execute


def _opencv(engine: str) -> Callable[[ModelProto], Executed]:
    def load(proto: ModelProto) -> Executed:
        data = np.frombuffer(proto.SerializeToString(), np.uint8)
        net = cv2.dnn.readNetFromONNX(data, getattr(cv2.dnn, engine))
        names = [one.name for one in proto.graph.output]

        def execute(array: Floats) -> Mapping[str, Floats]:
            net.setInput(array)
            return dict(zip(names, net.forward(names), strict=True))

        return execute

    return load


ENGINES: dict[str, Callable[[ModelProto], Executed]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    **{
        f"opencv {name.lower()}": _opencv(f"ENGINE_{name}")
        for name in ("CLASSIC", "NEW")
        if hasattr(cv2.dnn, f"ENGINE_{name}")
    },
}
"""Every engine that executes the graphs, by name."""
