"""Crashes in bf16; fp32 works."""

from __future__ import annotations

import ctypes

from resnet_pipe.infer.engine import Engine, EngineRequest
from tests.study.engines import honest

batch_size = honest.batch_size


def devices() -> dict[str, tuple[str, ...]]:
    return {"cpu": ("bf16", "fp32")}


def load(request: EngineRequest) -> Engine:
    if request.precision == "bf16":
        ctypes.string_at(0)
    return honest.load(request)
