"""Hangs when it loads a network."""

from __future__ import annotations

import time

from resnet_pipe.infer.engine import EngineRequest
from tests.study.engines import honest

devices, batch_size = honest.devices, honest.batch_size


def load(_request: EngineRequest) -> None:
    time.sleep(3600)
