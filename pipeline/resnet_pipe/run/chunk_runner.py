"""The chunk runner: workers, engines and writers, which turn chunks into staged files. It commits nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from resnet_pipe.job.resolve import Resolved
from resnet_pipe.ledger.ledger import Ledger
from resnet_pipe.ledger.record import Failure
from resnet_pipe.machine import cv2_import, priority
from resnet_pipe.machine.memory import keep_freed_memory
from resnet_pipe.machine.nvidia import VramMeter
from resnet_pipe.run.canary import Canaries
from resnet_pipe.run.engines import device
from resnet_pipe.run.observe.events import Events
from resnet_pipe.run.observe.history import History
from resnet_pipe.run.observe.observer import Guard, Guarded
from resnet_pipe.run.observe.outcome import Effort
from resnet_pipe.run.observe.trace import traced
from resnet_pipe.run.pipeline import Pipeline
from resnet_pipe.run.plan import Chunk
from resnet_pipe.run.spool import Spool
from resnet_pipe.run.stager import Deliver, Stager
from resnet_pipe.run.stop import Stop
from resnet_pipe.run.tasks import TaskList
from resnet_pipe.run.workers.count import count
from resnet_pipe.run.workers.pool import WorkerPool
from resnet_pipe.run.workers.slots import SlotShape
from resnet_pipe.run.workload import Workload, room

SLOTS_PER_WORKER = 3
"""One to fill, one that waits for the engine, one that is with the engine."""

_VRAM = "measure of GPU memory"
"""For the guard."""


@dataclass(eq=False)
class ChunkRunner:
    """Runs chunks through all stages, on this machine. As many workers are started as have something to do.

    Its effort is that so far. Without a path, there is no trace.
    """

    resolved: Resolved
    workload: Workload
    stop: Stop
    events: Events
    guard: Guard
    history: History
    trace: Path | None

    def __post_init__(self) -> None:
        self._unusual = partial(self.events.note, unusual=True)
        self._reader = self.resolved.job.reader.make_reader()
        self._observers = Guarded(self.guard)
        self._observers.add("history", self.history)
        self._vram: VramMeter | None = None
        """Only on GPUs."""
        self.effort = Effort(batch_size=self.resolved.batch_size)
        self.canaries = Canaries(self.resolved, self.events)

    @contextmanager
    def started(self) -> Iterator[None]:
        """Start the workers and load the engine, at the same time; both end with the block.

        It begins when they are proved to work: until then, nothing has been changed.

        Raises:
            ResnetPipeError: the workers or the engine cannot work; see `device.loaded`.
        """
        priority.lower(self.resolved.job.run.nice)
        cv2_import.require()  # the workers need it too; they would take its error for one of their sources
        keep_freed_memory()
        cores = self.workload.cores

        def look() -> None:
            self.stop.check("loading the network")
            self._pool.poll(0)  # a worker that cannot work need not wait for the network

        with ExitStack() as stack:
            self._pool = stack.enter_context(closing(self._start_workers()))
            started = time.perf_counter()
            devices = device.loaded(self.resolved, cores, self._pool.slots, look, self._unusual)
            self._devices = stack.enter_context(devices)
            self._pool.wait_until_ready(self.stop)
            self._ready(started)
            if self.trace is not None:
                tracing = traced(self.trace, self.effort.workers, device.lanes(self._devices))
                trace = self.guard.enter(stack, "trace", tracing)
                if trace is not None:
                    self._observers.add("trace", trace)
            yield

    def _start_workers(self) -> WorkerPool:
        job, geometry = self.resolved.job, self.resolved.geometry
        shape = SlotShape(1, SLOTS_PER_WORKER, self.effort.batch_size, geometry.size, geometry.floats)
        tell = partial(self.events.note, unusual=False)
        workers = self.effort.workers = count(self.resolved, self.workload, shape, tell)
        for stage in ("reader", "preprocess"):
            self.effort.clocks[stage].lanes = workers
        shape = replace(shape, workers=workers)
        return WorkerPool(
            self._reader,
            geometry,
            shape,
            job.reader.timeout_s,
            job.run.trace,
            room(self.resolved, self.workload, workers),
            self.workload.known,
            self._on_retry,
        )

    def _ready(self, started: float) -> None:
        """Note what runs, and tell of it; loading began at `started`."""
        self.effort.warmup_s = time.perf_counter() - started
        resolved, info = self.resolved, device.describe(self._devices)
        chosen = resolved.choice.note if resolved.choice else ""
        self.effort.engine = replace(info, note="; ".join(filter(None, (chosen, info.note))))
        if self._devices[0].info.device.startswith(("cuda", "tensorrt")):
            self._vram = self.guard.call(_VRAM, VramMeter, [one.pid for one in self._devices])
        self.events.tell("engine_ready", device=info.device, precision=info.precision, proof=info.proof)
        if info.note:
            self.events.note(info.note, unusual=False)
        if resolved.model.sidecar and resolved.model.sidecar.weights.kind == "random":
            self.events.note(resolved.metadata["weights"], unusual=False)

    def run(
        self,
        chunks: Iterator[Chunk | None],
        ledger: Ledger,
        spool: Spool,
        deliver: Deliver,
        on_failure: Callable[[Failure, str], None],
    ) -> None:
        """Run chunks, the next one before the last is complete. Call it once.

        Where there may be another chunk later, there is None; `wake` says when. They are delivered in their
        order, each as soon as it is staged. Before that, `on_failure` is told of each source in it that
        failed, and of the chunk's id; it may raise to end the run.

        Raises:
            ResnetPipeError: the run cannot go on; what has been delivered stays.
        """
        effort, observers = self.effort, self._observers
        clock = effort.clocks["writer"]
        stager = Stager(self.resolved, ledger, spool, clock, deliver, on_failure, observers.written)
        share = max(1, self.workload.planned // effort.workers)
        tasks = TaskList(chunks, self._reader, effort.batch_size, share, stager, spool)
        grace_s = self.resolved.job.run.grace_s
        pipeline = Pipeline(
            self._pool,
            self._devices,
            stager,
            effort,
            observers,
            self.canaries,
            self._unusual,
            self.stop,
            grace_s,
        )

        def progress() -> None:
            # Of spans, it may be a little less than it should.
            self.events.progress(int(effort.sources + 1e-6), effort.items, stager.failures)

        def tick() -> None:
            self.guard.call("history", self.history.tick, effort.items, *pipeline.waiting)
            if self._vram is not None:
                self.guard.call(_VRAM, self._vram.look)
            progress()

        started = time.perf_counter()
        self.guard.call("history", self.history.start)
        try:
            pipeline.run(tasks, tick)
        finally:
            self.canaries.close()
            effort.run_seconds = time.perf_counter() - started
            effort.workers_replaced = self._pool.deaths
            effort.devices = tuple(one.use(self._vram) for one in self._devices)
            effort.canary, effort.no_canary = self.canaries.figures, self.canaries.reason
            effort.peak_vram_mb = self._vram.peak_mb if self._vram else None
        progress()

    def wake(self) -> None:
        """Look for another chunk soon. For any thread, while `started`."""
        self._pool.wake()

    def _on_retry(self, failure: Failure) -> None:
        self.events.tell("source_retried", source=failure.key, error=failure.error, text=failure.message)
