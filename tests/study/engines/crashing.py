"""Crashes when it loads a network."""

from __future__ import annotations

import ctypes

from resnet_pipe.infer.engine import EngineRequest
from tests.study.engines import honest

devices, batch_size = honest.devices, honest.batch_size


def load(_request: EngineRequest) -> object:
    return ctypes.string_at(0)
