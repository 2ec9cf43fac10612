"""Gives what it should, in its time."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.infer import opencv
from resnet_pipe.infer.engine import EngineRequest
from tests.study.engines import honest

devices, batch_size = honest.devices, honest.batch_size


class Slow(opencv.OpenCvEngine):
    def infer(self, batch: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        time.sleep(0.05)
        return super().infer(batch)


def load(request: EngineRequest) -> Slow:
    return Slow(replace(request, device="cpu"))
