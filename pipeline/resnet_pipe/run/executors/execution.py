"""The part of a run between plan and report: starts workers and engines, processes the chunks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

from resnet_pipe.errors import ExitCode
from resnet_pipe.infer.engine import EngineInfo
from resnet_pipe.job.resolve import Resolved
from resnet_pipe.ledger.ledger import HOME, Ledger
from resnet_pipe.ledger.spool import Spool
from resnet_pipe.ledger.standing import Standing
from resnet_pipe.machine import cv2_import
from resnet_pipe.machine.cores import available_cores
from resnet_pipe.machine.gpu_memory import VramMeter
from resnet_pipe.machine.memory import keep_freed_memory, peak_rss_kb
from resnet_pipe.reader.reader import make_reader
from resnet_pipe.run.committer import Committed, Committer
from resnet_pipe.run.engines import loading
from resnet_pipe.run.engines.device import Device, DeviceUse
from resnet_pipe.run.failure_limit import check_failures
from resnet_pipe.run.observe.clock import STAGES, StageClock, added_up
from resnet_pipe.run.observe.event_log import EventLog
from resnet_pipe.run.observe.guard import Guard, Guarded
from resnet_pipe.run.observe.history import History
from resnet_pipe.run.observe.observer import Observer
from resnet_pipe.run.observe.outcome import Outcome
from resnet_pipe.run.observe.progress import Progress, make_progress
from resnet_pipe.run.observe.trace import traced
from resnet_pipe.run.pipeline import Counts, Pipeline
from resnet_pipe.run.plan import empty_plan
from resnet_pipe.run.preparation import FAILURES, Prepared
from resnet_pipe.run.stop import Stop
from resnet_pipe.run.tasks import TaskList
from resnet_pipe.run.workers.count import fitting
from resnet_pipe.run.workers.messages import Failure, Filled
from resnet_pipe.run.workers.pool import WorkerPool
from resnet_pipe.run.workers.slots import SlotShape

SLOTS_PER_WORKER = 3
"""One to fill, one that waits for the engine, one that is with the engine."""

_VRAM = "measure of GPU memory"
"""For the guard."""


class Execution:
    """Executes a plan and remembers what happened, also when it ends in an error.

    Args:
        resolved: the job.
        stop: whether the run is to end.
        log: for machines.
        folder: of the run, for the trace; None if it could not be made.
        quiet: no progress for people.
        guard: of what only observes.
    """

    def __init__(
        self,
        resolved: Resolved,
        stop: Stop,
        log: EventLog,
        folder: Path | None,
        quiet: bool,
        guard: Guard,
    ) -> None:
        self._resolved = resolved
        self._stop = stop
        self._log = log
        self._folder = folder
        self._quiet = quiet
        self._guard = guard
        self._plan = empty_plan()
        self._sources = self._failed_before = 0
        self._reader = make_reader(resolved.job.reader)
        self._progress: Progress | None = None
        self._counts = Counts()
        self._clocks = {stage: StageClock() for stage in STAGES}
        self.done = self.partial = self.failed = 0
        """Sources of committed chunks that gave all their rows, some, and none."""
        self._noted = 0
        """How many of all these have notes."""
        self.standing: Standing | None = None
        """In the whole directory, once that is known."""
        self._engine: EngineInfo | None = None
        self._devices: tuple[DeviceUse, ...] = ()
        self._warmup_s = self._run_seconds = self._first_batch_s = 0.0
        self._batch_size = self._workers = self._workers_replaced = 0
        self._worker_rss_kb: dict[int, int] = {}
        self._vram: VramMeter | None = None
        """Only on GPUs."""
        self.history = History(resolved.labels, resolved.logits, resolved.activation, resolved.job.run.report)
        """For the report."""

    def run(self, prepared: Prepared) -> None:
        """Carry out what is planned; nothing is loaded if there is nothing to do.

        Args:
            prepared: the plan, in a directory whose lock the caller holds.

        Raises:
            ResnetPipeError: it could not be finished; what was committed stays.
        """
        self._plan = plan = prepared.plan
        self._sources, self._failed_before = prepared.allowance
        self._log.event("planned", sources=plan.planned, skipped=plan.skipped, chunks=plan.chunk_count)
        if plan.warning:
            self._log.event("note", text=plan.warning)
        ledger = prepared.ledger
        spool = Spool(ledger.spool, ledger.output / HOME, self._resolved.digest)
        if self._stop.signal is None:
            if plan.chunk_count:
                self._execute(prepared, spool)
            else:
                prepared.begin()
        if self._stop.signal is None:
            spool.clear()

    def _execute(self, prepared: Prepared, spool: Spool) -> None:
        """Prove that the workers and the engine work, and only then begin with the chunks."""
        plan = prepared.plan
        cv2_import.require()  # the workers need it too; they would take its error for one of their sources
        keep_freed_memory()
        with ExitStack() as stack:
            unit = "video" if self._resolved.job.reader.kind == "video" else "image"
            self._progress = stack.enter_context(closing(make_progress(plan.planned, unit, self._quiet)))
            self._guard.say = self._progress.say
            if plan.passed_over:
                self._say(plan.passed_over.describe(), unusual=False)
            cores = available_cores()
            self._batch_size = self._resolved.batch_size
            pool = stack.enter_context(closing(self._start_workers(cores)))
            pool.wait_until_ready(self._stop)
            started = time.perf_counter()
            devices = stack.enter_context(
                loading.loaded(self._resolved, self._batch_size, cores, pool.slots, self._stop, self._say)
            )
            self._ready(devices, started)
            observers = self._observers(stack, devices)
            prepared.begin()
            try:
                self._process(prepared.ledger, spool, pool, devices, observers)
            finally:
                self._workers_replaced = pool.deaths
                self._devices = tuple(device.use(self._vram) for device in devices)

    def _observers(self, stack: ExitStack, devices: Sequence[Device]) -> list[Observer]:
        """Return who is told of every batch; the stack ends what they make."""
        observers: list[Observer] = [Guarded("history", self.history, self._guard)]
        if self._resolved.job.run.trace and self._folder is not None:
            tracing = traced(self._folder / "trace.json", self._workers, loading.lanes(devices))
            trace = self._guard.enter(stack, "trace", tracing)
            if trace is not None:
                observers.append(Guarded("trace", trace, self._guard))
        return observers

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of a run that did not end in an error."""
        if self._stop.signal is not None:
            return self._stop.exit_code
        return ExitCode.SOME_FAILED if self.failed or self.partial else ExitCode.DONE

    def outcome(self, started_at: datetime, seconds: float, exit_code: ExitCode) -> Outcome:
        """Return what happened so far."""
        return Outcome(
            resolved=self._resolved,
            plan=self._plan,
            engine=self._engine,
            clocks={**self._clocks, "infer": added_up(use.clock for use in self._devices)},
            started_at=started_at,
            seconds=seconds,
            run_seconds=self._run_seconds,
            first_batch_s=self._first_batch_s,
            warmup_s=self._warmup_s,
            done=self.done,
            partial=self.partial,
            failed=self.failed,
            noted=self._noted,
            standing=self.standing,
            items=self._counts.items,
            frames=self._counts.frames,
            batch_size=self._batch_size,
            workers=self._workers,
            workers_replaced=self._workers_replaced,
            devices=self._devices,
            own_rss_kb=peak_rss_kb(),
            worker_rss_kb=self._worker_rss_kb,
            peak_vram_mb=self._vram.peak_mb if self._vram else None,
            exit_code=exit_code,
            failures=self._resolved.job.output / FAILURES,
        )

    def _start_workers(self, cores: int) -> WorkerPool:
        job = self._resolved.job
        wanted = cores if job.run.workers == "auto" else job.run.workers
        batches = -(-self._plan.planned * self._reader.expected_items // self._batch_size)
        if batches < wanted and any(map(self._reader.may_split, self._plan.sources())):
            batches = wanted  # whatever was expected of it
        self._workers = max(1, min(wanted, batches))
        geometry = self._resolved.geometry
        shape = SlotShape(1, SLOTS_PER_WORKER, self._batch_size, geometry.size)
        if job.run.workers == "auto":
            model, tell = self._resolved.model.path, partial(self._say, unusual=False)
            self._workers = fitting(self._workers, job.infer.engine, job.reader.kind, model, shape, tell)
        for stage in ("reader", "preprocess"):
            self._clocks[stage].lanes = self._workers
        shape = replace(shape, workers=self._workers)
        known = {source.key for chunk in self._plan.rewrites for source in chunk.failed_before}
        return WorkerPool(
            self._reader, geometry, shape, job.reader.timeout_s, job.run.trace, known, self._on_retry
        )

    def _ready(self, devices: tuple[Device, ...], started: float) -> None:
        """Note what runs, and tell of it; `started` is when loading began."""
        self._warmup_s = time.perf_counter() - started
        resolved, info = self._resolved, loading.describe(devices)
        chosen = resolved.choice.note if resolved.choice else ""
        self._engine = replace(info, note="; ".join(filter(None, (chosen, info.note))))
        if devices[0].info.device.startswith(("cuda", "tensorrt")):
            self._vram = self._guard.call(_VRAM, VramMeter, [device.pid for device in devices])
        self._log.event("engine_ready", device=info.device, precision=info.precision, proof=info.proof)
        if info.note and not self._quiet:  # it stands in run.json too, and is nothing to worry about
            self._say(info.note)
        if resolved.model.sidecar and resolved.model.sidecar.weights.kind == "random":
            self._say(resolved.metadata["weights"], unusual=False)

    def _process(
        self,
        ledger: Ledger,
        spool: Spool,
        pool: WorkerPool,
        devices: Sequence[Device],
        observers: Sequence[Observer],
    ) -> None:
        def written(filled: Filled, start: float, end: float) -> None:
            for observer in observers:
                observer.written(filled, start, end)

        committer = Committer(
            self._resolved,
            ledger,
            spool,
            self._reader.root,
            self._clocks["writer"],
            self._on_commit,
            self._on_failure,
            written,
        )
        tasks = TaskList(self._plan, self._reader, self._batch_size, self._workers, committer, spool)
        pipeline = Pipeline(pool, devices, committer, self._clocks, self._counts, observers, self._say)

        def tick() -> None:
            self._guard.call("history", self.history.tick, self._counts.items, *pipeline.waiting)
            if self._vram is not None:
                self._guard.call(_VRAM, self._vram.look)
            self._tick()

        started = time.perf_counter()
        self._guard.call("history", self.history.start)
        try:
            pipeline.run(tasks, self._stop, self._resolved.job.run.grace_s, tick)
        finally:
            self._run_seconds = time.perf_counter() - started
            self._first_batch_s = (pipeline.first_batch_at or started) - started
            self._worker_rss_kb = pipeline.peak_rss_kb
        self._tick()

    def _say(self, text: str, unusual: bool = True) -> None:
        self._log.event("note", text=text)
        if self._progress is not None and (unusual or not self._quiet):
            self._progress.say(text)

    def _tick(self) -> None:
        counts = self._counts
        if self._progress is not None:
            # Of spans, it may be a little less than it should.
            sources = int(counts.sources + 1e-6)
            self._guard.call("progress", self._progress.update, sources, counts.items, counts.failures)

    def _on_commit(self, committed: Committed) -> None:
        self.done += committed.done
        self.partial += committed.partial
        self.failed += committed.failed
        self._noted += len(committed.noted)
        self._counts.chunks += 1
        record = committed.record
        for entry in committed.noted:
            self._log.event("source_noted", chunk=record.chunk, source=entry.source.key, notes=entry.notes)
        shards = [file.name for file in record.shards]
        self._log.event("chunk_committed", chunk=record.chunk, shards=shards, rows=record.rows)

    def _on_retry(self, failure: Failure) -> None:
        self._log.event("source_retried", source=failure.key, error=failure.error, text=failure.message)

    def _on_failure(self, failure: Failure, chunk: str) -> None:
        self._counts.failures += 1
        self._log.event(
            "source_failed",
            chunk=chunk,
            source=failure.key,
            stage=failure.stage,
            error=failure.error,
            text=failure.message,
        )
        limit = self._resolved.job.run.failure_limit(self._sources)
        check_failures(failure, self._failed_before + self._counts.failures, limit, self._reader.root)
