"""Gives right features, and the logits in reverse: each belongs to another class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.infer import opencv
from resnet_pipe.infer.engine import EngineRequest
from tests.study.engines import honest

devices, batch_size = honest.devices, honest.batch_size


class Reversing(opencv.OpenCvEngine):
    def infer(self, batch: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        outputs = super().infer(batch)
        return {name: values[:, ::-1] if name == "logits" else values for name, values in outputs.items()}


def load(request: EngineRequest) -> Reversing:
    return Reversing(replace(request, device="cpu"))
