"""Builds its network anew whenever the size of the batch changes."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.infer import opencv
from resnet_pipe.infer.engine import EngineRequest
from tests.study.engines import honest

devices, batch_size = honest.devices, honest.batch_size


class Rebuilding(opencv.OpenCvEngine):
    _size = 0

    def infer(self, batch: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        if len(batch) != self._size:
            time.sleep(0.2)
            self._size = len(batch)
        return super().infer(batch)


def load(request: EngineRequest) -> Rebuilding:
    return Rebuilding(replace(request, device="cpu"))
