"""The forward passes of one network on one engine: what benchmarks/gpu.py starts, as a process of its own.

usage: python -m benchmarks.gpu_forward MODULE MODEL.onnx FILE --device cuda --precision fp16
           --batches 1 8 32 [--seconds 0.5]

MODULE is that of the engine, such as resnet_pipe.infer.opencv. Appends one line of JSON to FILE for each
batch size, small ones first, as soon as it is known, so that a crash leaves what came before it.

A pass goes from uint8 pixels to float32 outputs, both in the memory of the host: normalising and both
transfers are in it. One stream: no pass overlaps another one.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.measure import brief
from numpy.typing import NDArray

from resnet_pipe.errors import DeviceError, ResnetPipeError
from resnet_pipe.head import output_choice
from resnet_pipe.infer.batches import Normalizer
from resnet_pipe.infer.engine import ENGINES, EngineInfo, EngineRequest
from resnet_pipe.machine.limits import available_cores
from resnet_pipe.machine.nvidia import VramMeter
from resnet_pipe.model import network
from resnet_pipe.model.model import read_sidecar

WARM_UP, LEAST = 3, 3
"""Passes that are not counted, and the fewest that are."""
MIB = 2**20


def main() -> None:
    """Measure every batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("module")
    parser.add_argument("model", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--device", required=True)
    parser.add_argument("--precision", required=True)
    parser.add_argument("--batches", type=int, nargs="+", required=True)
    parser.add_argument("--seconds", type=float, default=0.5)
    arguments = parser.parse_args()
    vram = Vram()
    for size in sorted(arguments.batches):
        try:
            figures = measured(arguments.module, request(arguments, size), arguments.seconds, vram)
        except ResnetPipeError as error:
            figures = {"reason": brief(error.problem)}
        except Exception as error:  # libraries raise what they like; another batch size may fit
            figures = {"reason": brief(f"{type(error).__name__}: {error}")}
        gc.collect()
        with arguments.file.open("a") as lines:
            lines.write(json.dumps({"batch": size, **figures}) + "\n")


def request(arguments: argparse.Namespace, size: int) -> EngineRequest:
    """Return what to load for a batch size."""
    return EngineRequest(
        model=arguments.model,
        preprocessing=read_sidecar(arguments.model.with_suffix(".json")).preprocessing.network_input,
        outputs=(output_choice.for_classes(network.inspect(arguments.model)).name,),
        batch_size=size,
        device=arguments.device,
        precision=arguments.precision,
        threads=available_cores(),
        streams=1,
    )


def measured(module: str, wanted: EngineRequest, seconds: float, vram: Vram) -> dict[str, Any]:
    """Load a network, execute it again and again, and return the figures.

    Raises:
        ResnetPipeError: it does not run, or not as it was asked for.
    """
    started = time.perf_counter()
    engine = importlib.import_module(module).load(wanted)
    load_s = time.perf_counter() - started
    info: EngineInfo = engine.describe()
    check(info, wanted)
    size = wanted.batch_size
    batch = np.random.default_rng(0).integers(0, 256, (size, *wanted.preprocessing.size, 3), np.uint8)
    passes_ms = milliseconds(lambda: engine.infer(batch), seconds)
    middle = statistics.median(passes_ms)
    return {
        "reason": None,
        "images_per_second": round(1000 * size / middle, 2),
        "ms": round(middle, 4),
        "ms_fastest": round(min(passes_ms), 4),
        "ms_slowest": round(max(passes_ms), 4),
        "passes": len(passes_ms),
        "normalize_ms": normalizing_ms(module, wanted, batch),
        "load_s": round(load_s, 3),
        **(vram.look() if wanted.device != "cpu" else {"vram_mb": None, "vram_of": None}),
        "info": asdict(info),
    }


def check(info: EngineInfo, wanted: EngineRequest) -> None:
    """Refuse figures that would stand under the wrong name.

    Raises:
        DeviceError: another device or precision runs than was asked for.
    """
    if not info.device.startswith(wanted.device) or info.precision != wanted.precision:
        raise DeviceError(
            f"{wanted.precision} on {wanted.device} was requested, but {info.precision} on {info.device} runs"
        )


def milliseconds(execute: Callable[[], object], seconds: float) -> list[float]:
    """Return how long each of several calls took, once warm, for about as long as is given."""
    for _ in range(WARM_UP):
        execute()
    took: list[float] = []
    end = time.perf_counter() + seconds
    while len(took) < LEAST or time.perf_counter() < end:
        started = time.perf_counter()
        execute()
        took.append(1000 * (time.perf_counter() - started))
    return took


def normalizing_ms(module: str, wanted: EngineRequest, batch: NDArray[np.uint8]) -> float | None:
    """Return how long the engine opencv normalises in a pass, on the CPU, measured alone; None for others.

    Those normalise on the GPU.
    """
    if module != ENGINES["opencv"]:
        return None
    normalizer = Normalizer(wanted.preprocessing, wanted.batch_size)
    return round(statistics.median(milliseconds(lambda: normalizer.fill(batch), 0.0)), 4)


class Vram:
    """The memory of the GPUs that this process has used at most so far.

    In many containers NVML does not tell which process uses what. What all GPUs have come to use since this
    was made is told instead, and said: it is the same if nothing else runs on them.
    """

    def __init__(self) -> None:
        self._meter = VramMeter([os.getpid()])
        self._before_mb = _used_mb()

    def look(self) -> dict[str, Any]:
        """Return `vram_mb` and `vram_of`; None where NVML is missing or tells nothing."""
        self._meter.look()
        if self._meter.peak_mb is not None:
            return {"vram_mb": self._meter.peak_mb, "vram_of": "process"}
        used_mb = _used_mb()
        if used_mb is None or self._before_mb is None or used_mb <= self._before_mb:
            return {"vram_mb": None, "vram_of": None}
        return {"vram_mb": round(used_mb - self._before_mb, 1), "vram_of": "GPUs"}


def _used_mb() -> float | None:
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        gpus = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        return sum(float(pynvml.nvmlDeviceGetMemoryInfo(gpu).used) for gpu in gpus) / MIB
    except pynvml.NVMLError:
        return None


if __name__ == "__main__":
    main()
