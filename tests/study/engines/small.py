"""Has memory for one item at a time."""

from __future__ import annotations

from resnet_pipe.errors import DeviceError
from resnet_pipe.infer.engine import Engine, EngineRequest
from tests.study.engines import honest

devices, batch_size = honest.devices, honest.batch_size


def load(request: EngineRequest) -> Engine:
    if request.batch_size > 1:
        raise DeviceError(f"{request.device} has too little memory for {request.batch_size} images")
    return honest.load(request)
