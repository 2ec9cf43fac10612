"""Gives for the last item of a batch what belongs to nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.infer import opencv
from resnet_pipe.infer.engine import EngineRequest
from tests.study.engines import honest

devices, batch_size = honest.devices, honest.batch_size


class Wrong(opencv.OpenCvEngine):
    def infer(self, batch: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        outputs = super().infer(batch)
        outputs["features"][-1] = outputs["features"][-1][::-1]
        return outputs


def load(request: EngineRequest) -> Wrong:
    return Wrong(replace(request, device="cpu"))
