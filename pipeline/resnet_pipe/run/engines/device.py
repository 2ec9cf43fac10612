"""A device of a run: an engine that processes batches in place, and its statistics."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from resnet_pipe.errors import EngineError
from resnet_pipe.machine.nvidia import VramMeter
from resnet_pipe.run.engines.remote_engine import RemoteEngine
from resnet_pipe.run.observe.clock import StageClock, utilisation
from resnet_pipe.run.workers.messages import Outputs


class Device:
    """What a lane of the infer stage gives its batches to. Used from as many threads as it has streams.

    Attributes:
        name: for messages and the trace; empty where the run has no other device.
        info: what really runs.
        clock: of the infer stage, as far as this device is concerned.
    """

    def __init__(self, engine: RemoteEngine, name: str, batch_size: int, say: Callable[[str], None]) -> None:
        self.name = name
        self.info = engine.info
        self.pid = engine.pid
        self.clock = StageClock(lanes=engine.info.streams)
        self._engine = engine
        self._limit = batch_size
        self._say = say
        self._lock = threading.Lock()
        """Guards the limit, which several streams may change."""

    def infer(self, slot: int, count: int) -> Outputs:
        """Execute the network on the first rows of a slot, in halves where all do not fit into memory.

        Raises:
            EngineError: not even one item can be executed.
            RunError: the engine is not there any more, or hangs.
        """
        while True:
            limit = self._limit
            try:
                parts = [
                    self._engine.infer(slot, range(start, min(start + limit, count)))
                    for start in range(0, count, limit)
                ]
            except EngineError as error:
                self._shrink(min(limit, count), error)
                continue
            if len(parts) == 1:
                return parts[0]
            return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _shrink(self, failed: int, error: EngineError) -> None:
        """Halve the batch after `failed` items at once were too many; raise `error` if that was one."""
        if failed == 1:
            raise error
        with self._lock:
            if self._limit < failed:
                return  # another stream has done it
            self._limit = (failed + 1) // 2
            self._engine.shrink(self._limit)
            self._say(f"{error.problem}; continuing with batches of {self._limit}")

    def close(self) -> None:
        """End the engine, whatever it is doing; calls of `infer` raise a RunError. May be called again."""
        self._engine.close()

    def use(self, vram: VramMeter | None) -> DeviceUse:
        """Return what it has done so far; without a meter, which watches its process, it is no GPU."""
        peak_vram_mb = vram.peak_mb_of(self.pid) if vram else None
        return DeviceUse(self.info.device, self.clock, self._engine.peak_rss_kb, peak_vram_mb)


@dataclass(frozen=True)
class DeviceUse:
    """What a device has done in a run, and the highest memory of its process; on a GPU too, if measured."""

    device: str
    clock: StageClock
    peak_rss_kb: int
    peak_vram_mb: float | None

    def to_json(self, seconds: float) -> dict[str, Any]:
        """Return the figures as written to run.json, for a run of the given duration."""
        clock = self.clock.summary()
        return {
            "device": self.device,
            "streams": clock["lanes"],
            "batches": len(self.clock.batches),
            **{name: clock[name] for name in ("items", "busy_s", "wait_in_s", "wait_out_s")},
            "items_per_second": round(self.clock.items / seconds, 2) if seconds else 0.0,
            "peak_rss_mb": round(self.peak_rss_kb / 1024, 1),
            "peak_vram_mb": self.peak_vram_mb,
        }

    def describe(self, what: str, seconds: float) -> str:
        """Return them in words, for a run of so many seconds; `what` its items are, in the plural."""
        items, batches = self.clock.items, len(self.clock.batches)
        rate = items / seconds if seconds else 0.0
        return (
            f"{items} {what} in {batches} batches, {rate:.1f} {what}/s,"
            f" busy {utilisation(self.clock, seconds):.0%} of the run"
        )
