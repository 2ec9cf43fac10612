"""Of two processes, the second that takes a batch gives nonsense; neither goes on before both have one."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.infer import opencv
from resnet_pipe.infer.engine import EngineRequest
from tests.study.engines import honest

devices, batch_size = honest.devices, honest.batch_size


class SecondWrong(opencv.OpenCvEngine):
    def __init__(self, request: EngineRequest) -> None:
        super().__init__(request)
        self._folder = request.model.parent
        self._wrong: bool | None = None

    def infer(self, batch: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        outputs = super().infer(batch)
        if self._wrong is None:
            self._wrong = not self._first()
        return {name: values[:, ::-1] + 1 if self._wrong else values for name, values in outputs.items()}

    def _first(self) -> bool:
        try:
            (self._folder / "first").mkdir()
        except FileExistsError:
            (self._folder / "second").mkdir()
            return False
        while not (self._folder / "second").exists():
            time.sleep(0.01)
        return True


def load(request: EngineRequest) -> SecondWrong:
    return SecondWrong(replace(request, device="cpu"))
