"""The process of an engine that is probed."""

from __future__ import annotations

import importlib
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import inf
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from resnet_pipe.errors import MissingExtraError, ResnetPipeError, UsageError
from resnet_pipe.infer.engine import Engine, EngineRequest
from resnet_pipe.infer.probe import Abilities, BatchTimes, Refusal, Result, Work
from resnet_pipe.preprocess.network_input import Pixels

_ROUNDS, _MOST_ROUNDS = 3, 10
"""How often single batches are timed: the more where another size seems to cost something, as the machine may
be busy."""


def serve(connection: Connection) -> None:
    """Answer the questions of a `Probe`, the first of them about abilities."""
    engine: Any = None
    while True:
        question = connection.recv()
        try:
            if isinstance(question, Work):
                alive = partial(connection.send, None)
                answer: object = _result(engine.load, question, alive)
            else:
                engine = importlib.import_module(question[0])
                answer = Abilities(engine.devices(), engine.batch_size(question[1]))
        except Exception as error:
            answer = _refusal(error)
        connection.send(answer)


def _refusal(error: Exception) -> Refusal:
    ours = error if isinstance(error, ResnetPipeError) else None
    text = " ".join((ours.problem if ours else str(error)).split())
    remedy = ours.remedy if ours else None
    if isinstance(error, MissingExtraError | ImportError):
        return Refusal("not installed", text, remedy)
    if isinstance(error, UsageError):
        return Refusal("cannot run", text, remedy)
    return Refusal("crashed", text if ours else f"{type(error).__name__}: {text}")


def _result(load: Callable[[EngineRequest], Engine], work: Work, alive: Callable[[], None]) -> Result:
    engine = load(work.request)
    if work.items is None:
        return Result(engine.describe(), {})
    size = work.request.batch_size
    several = work.items if isinstance(work.items, Sequence) else [work.items]
    batches = [items[start : start + size] for items in several for start in range(0, len(items), size)]
    with ThreadPoolExecutor(engine.streams) as threads:
        parts = []
        for part in threads.map(*_calls(engine, load, work, batches)):
            parts.append(part)
            alive()
    outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    rate = None
    if work.seconds:
        if len(several) == 1:
            items = several[0]
            starts = range(0, len(items), size)
            batches = [items[np.arange(start, start + size) % len(items)] for start in starts]
        rate = _rate(engine, batches, work.seconds)
    times = _batch_times(engine, batches[0]) if work.single_batches else None
    return Result(engine.describe(), outputs, rate, times)


def _calls(
    engine: Engine, load: Callable[[EngineRequest], Engine], work: Work, batches: Sequence[Pixels]
) -> tuple[Any, ...]:
    """Return what is to be called for each batch, and what with, as `map` takes it."""
    if work.beside is None or work.placements is None:
        return engine.infer, batches
    ends = np.cumsum([len(batch) for batch in batches])
    return work.beside(engine, load), batches, np.split(work.placements, ends[:-1])


def _batch_times(engine: Engine, whole: Pixels) -> BatchTimes:
    def seconds(batch: Pixels) -> float:
        started = time.perf_counter()
        engine.infer(batch)
        return time.perf_counter() - started

    shortest = BatchTimes(inf, inf, inf)
    for number in range(_MOST_ROUNDS):
        if number >= _ROUNDS and max(shortest.short, shortest.again) < 2 * shortest.whole:
            break
        shortest = BatchTimes(
            whole=min(shortest.whole, seconds(whole)),
            short=min(shortest.short, seconds(whole[:1])),
            again=min(shortest.again, seconds(whole)),
        )
    return shortest


def _rate(engine: Engine, batches: Sequence[Pixels], seconds: float) -> float:
    """Return the items per second of an engine that is warm, all its streams at work as in a run.

    The batches, each as full as the others, are used again and again; none is begun after so many seconds,
    but each stream gets at least one.
    """
    upcoming = itertools.cycle(batches)
    counted = [0] * engine.streams
    started = time.perf_counter()

    def work(stream: int) -> None:
        while counted[stream] == 0 or time.perf_counter() - started < seconds:
            with lock:
                batch = next(upcoming)
            engine.infer(batch)
            counted[stream] += len(batch)

    lock = threading.Lock()
    with ThreadPoolExecutor(engine.streams) as threads:
        list(threads.map(work, range(engine.streams)))
    return sum(counted) / (time.perf_counter() - started)
