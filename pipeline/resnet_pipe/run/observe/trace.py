"""The trace of a run: what every worker, stream and writer did when, for ui.perfetto.dev.

The format is Chrome's "Trace Event Format" (https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU):
complete events (X) on one track (tid) for each who works, and flows (s, t, f) that follow a batch.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from resnet_pipe.run.observe.observer import Forward, Observer
from resnet_pipe.run.workers.messages import ReadyBatch
from resnet_pipe.store import atomic

_PROCESS = 1
_FIRST_LANE, _WRITER = 1000, 2000
"""Numbers of tracks; workers count from 0. Viewers sort by them."""


@contextmanager
def traced(path: Path, workers: int, lanes: Sequence[str]) -> Iterator[Trace]:
    """Write a trace into a file, which is there when the block ends without an error; see `Trace`."""
    with atomic.replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        yield Trace(file, workers, lanes)
        file.write("\n]}\n")


class Trace(Observer):
    """Writes events to a text file as they happen. Used from several threads.

    Lanes are the names of those who infer, in the order of their numbers.
    """

    def __init__(self, file: IO[str], workers: int, lanes: Sequence[str]) -> None:
        self._file = file
        self._lock = threading.Lock()
        file.write('{"displayTimeUnit":"ms","traceEvents":[\n')
        names = {worker: f"worker {worker}" for worker in range(workers)}
        names |= {_FIRST_LANE + number: name for number, name in enumerate(lanes)}
        names[_WRITER] = "writer"
        events = [{"ph": "M", "name": "process_name", "pid": _PROCESS, "args": {"name": "resnet-pipe run"}}]
        for track, name in names.items():
            events.append(_event("M", "thread_name", track, args={"name": name}))
            events.append(_event("M", "thread_sort_index", track, args={"sort_index": track}))
        file.write(",\n".join(map(json.dumps, events)))

    def ready(self, ready: ReadyBatch) -> None:
        """Write what the worker did for a batch, source by source."""
        if ready.worker is None or not ready.spans:
            return
        events = [
            _span(ready.worker, span.stage, span.start, span.end, source=span.source) for span in ready.spans
        ]
        if ready.slot is not None:
            events.append(_flow("s", ready, ready.worker, ready.spans[-1].start))
        self._write(events)

    def inferred(self, done: Forward) -> None:
        """Write a forward pass."""
        track, ready = _FIRST_LANE + done.lane, done.ready
        about = {"items": len(ready.rows), "task": ready.task, "part": ready.number}
        span = _span(track, "infer", done.start, done.end, **about)
        self._write([span, _flow("t", ready, track, done.start)])

    def written(self, ready: ReadyBatch, start: float, end: float) -> None:
        """Write that rows were written."""
        events = [_span(_WRITER, "writer", start, end, items=len(ready.rows), task=ready.task)]
        if ready.slot is not None:
            events.append(_flow("f", ready, _WRITER, start))
        self._write(events)

    def _write(self, events: list[dict[str, Any]]) -> None:
        text = "".join(",\n" + json.dumps(event) for event in events)
        with self._lock:
            self._file.write(text)


def _event(phase: str, name: str, track: int, **more: object) -> dict[str, Any]:
    return {"ph": phase, "name": name, "pid": _PROCESS, "tid": track, **more}


def _span(track: int, stage: str, start: float, end: float, **about: object) -> dict[str, Any]:
    times = {"ts": round(start * 1e6, 1), "dur": round((end - start) * 1e6, 1)}
    return _event("X", stage, track, cat=stage, **times, args=about)


def _flow(phase: str, ready: ReadyBatch, track: int, at: float) -> dict[str, Any]:
    batch = f"{ready.task}.{ready.span}.{ready.number}"
    return _event(phase, "batch", track, cat="batch", id=batch, ts=round(at * 1e6, 1), bp="e")
