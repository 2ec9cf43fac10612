"""Where the time goes: busy and waiting seconds of each stage."""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

STAGES = ("reader", "preprocess", "infer", "writer")


@dataclass
class StageClock:
    """The seconds of one stage, added up over all who work on it. Used from several threads.

    Attributes:
        lanes: how many work on the stage at the same time: worker processes, engine threads.
        wait_out_s: waiting for room downstream.
        batches: busy seconds of each batch.
    """

    lanes: int = 1
    busy_s: float = 0.0
    wait_in_s: float = 0.0
    wait_out_s: float = 0.0
    items: int = 0
    batches: array[float] = field(default_factory=lambda: array("f"))
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __reduce__(self) -> tuple[object, ...]:
        # For the way between processes: a lock cannot go with it.
        with self._lock:
            seconds = self.busy_s, self.wait_in_s, self.wait_out_s
            return StageClock, (self.lanes, *seconds, self.items, self.batches[:])

    def add(self, busy_s: float, items: int) -> None:
        """Count one batch."""
        with self._lock:
            self.busy_s += busy_s
            self.items += items
            if items:
                self.batches.append(busy_s)

    @contextmanager
    def waiting_in(self) -> Iterator[None]:
        """Count the time of the block as waiting for input."""
        started = time.perf_counter()
        yield
        with self._lock:
            self.wait_in_s += time.perf_counter() - started

    @contextmanager
    def waiting_out(self) -> Iterator[None]:
        """Count the time of the block as waiting for room downstream."""
        started = time.perf_counter()
        yield
        with self._lock:
            self.wait_out_s += time.perf_counter() - started

    def summary(self) -> dict[str, Any]:
        """Return the figures as written to run.json; p50, p95 and p99 are of one batch."""
        p50, p95, p99 = (np.percentile(self.batches or [0.0], [50, 95, 99]) * 1000).tolist()
        return {
            "busy_s": round(self.busy_s, 4),
            "wait_in_s": round(self.wait_in_s, 4),
            "wait_out_s": round(self.wait_out_s, 4),
            "items": self.items,
            "lanes": self.lanes,
            "p50_ms": round(p50, 3),
            "p95_ms": round(p95, 3),
            "p99_ms": round(p99, 3),
        }


def added_up(clocks: Iterable[StageClock]) -> StageClock:
    """Return the clock of a stage with several workers, each with its own clock."""
    several = list(clocks)
    total = StageClock(lanes=sum(clock.lanes for clock in several) or 1)
    for clock in several:
        total.busy_s += clock.busy_s
        total.wait_in_s += clock.wait_in_s
        total.wait_out_s += clock.wait_out_s
        total.items += clock.items
        total.batches += clock.batches
    return total


def utilisation(clock: StageClock, seconds: float) -> float:
    """Return the share of `seconds` x lanes that a stage was at work, 0 to 1."""
    return clock.busy_s / (seconds * clock.lanes) if seconds > 0 else 0.0


def bottleneck(clocks: dict[str, StageClock], seconds: float) -> str:
    """Return the stage that was at work for the largest share of the run.

    Reader and preprocess share the worker processes: if these are the busiest together, the larger of
    the two is named.
    """
    decoding = sorted(("reader", "preprocess"), key=lambda stage: clocks[stage].busy_s)[-1]
    shares = {stage: utilisation(clocks[stage], seconds) for stage in ("infer", "writer")}
    shares[decoding] = utilisation(clocks["reader"], seconds) + utilisation(clocks["preprocess"], seconds)
    return max(shares, key=lambda stage: shares[stage])
