"""Lacks an operator of every network."""

from __future__ import annotations

from resnet_pipe.errors import ModelError
from resnet_pipe.infer.engine import EngineRequest
from tests.study.engines import honest

devices, batch_size = honest.devices, honest.batch_size


def load(request: EngineRequest) -> None:
    raise ModelError(f"{request.model}: no operator Frobnicate", "use another network")
