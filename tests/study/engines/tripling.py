"""Gives three times what it should: all in the same direction, and all wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.infer import opencv
from resnet_pipe.infer.engine import EngineRequest
from tests.study.engines import honest

devices, batch_size = honest.devices, honest.batch_size


class Tripling(opencv.OpenCvEngine):
    def infer(self, batch: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        return {name: 3 * values for name, values in super().infer(batch).items()}


def load(request: EngineRequest) -> Tripling:
    return Tripling(replace(request, device="cpu"))
