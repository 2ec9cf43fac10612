"""Gives boxes that lie a quarter of the smallest one's width too far to the right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.infer import opencv
from resnet_pipe.infer.engine import EngineRequest
from tests.study.engines import honest

devices, batch_size = honest.devices, honest.batch_size


class Shifted(opencv.OpenCvEngine):
    def infer(self, batch: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        outputs = super().infer(batch)
        outputs["output0"][:, 0] += 4.0  # of a YOLO, the first row of which is the centre's x
        return outputs


def load(request: EngineRequest) -> Shifted:
    return Shifted(replace(request, device="cpu"))
