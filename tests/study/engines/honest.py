"""The engine opencv on the CPU, without a fault."""

from __future__ import annotations

from dataclasses import replace

from resnet_pipe.infer import opencv
from resnet_pipe.infer.engine import Engine, EngineRequest


def devices() -> dict[str, tuple[str, ...]]:
    return {"cpu": ("fp32",)}


def batch_size(_device: str) -> int:
    return 4


def load(request: EngineRequest) -> Engine:
    return opencv.load(replace(request, device="cpu", precision="fp32"))
