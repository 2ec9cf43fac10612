"""Has bf16 and fp32, and computes both with five bits of mantissa: enough for bf16 alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.infer import opencv
from resnet_pipe.infer.engine import EngineInfo, EngineRequest


def devices() -> dict[str, tuple[str, ...]]:
    return {"cpu": ("bf16", "fp32")}


def batch_size(_device: str) -> int:
    return 4


class Coarse(opencv.OpenCvEngine):
    def __init__(self, request: EngineRequest) -> None:
        super().__init__(replace(request, precision="fp32"))
        self._precision = request.precision

    def infer(self, batch: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        return {name: _cut(values) for name, values in super().infer(batch).items()}

    def describe(self) -> EngineInfo:
        return replace(super().describe(), precision=self._precision)


def _cut(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return (values.view(np.uint32) & np.uint32(0xFFFC0000)).view(np.float32)


def load(request: EngineRequest) -> Coarse:
    return Coarse(replace(request, device="cpu"))
