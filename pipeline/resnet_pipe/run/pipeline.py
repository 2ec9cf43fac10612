"""The moving parts of a run: worker processes -> engine threads -> writer thread, joined by queues."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import EngineError, ResnetPipeError, UsageError
from resnet_pipe.run.canary import Canaries
from resnet_pipe.run.engines.device import Device
from resnet_pipe.run.observe.observer import Forward, Observer
from resnet_pipe.run.observe.outcome import Effort
from resnet_pipe.run.stager import GivenUpError, Stager
from resnet_pipe.run.stop import Stop
from resnet_pipe.run.tasks import TaskList
from resnet_pipe.run.workers.messages import Outputs, ReadyBatch
from resnet_pipe.run.workers.pool import WorkerPool

_TICK_S = 0.2
_POLL_S = 0.01


@dataclass(eq=False)
class Pipeline:
    """Runs chunks through all stages.

    Each device takes the next batch as soon as a stream of it is idle. In the effort, what concerns batches
    and the memory of workers is kept up to date. A stop may take `grace_s`.
    """

    pool: WorkerPool
    devices: Sequence[Device]
    stager: Stager
    effort: Effort
    observer: Observer
    canaries: Canaries
    say: Callable[[str], None]
    stop: Stop
    grace_s: float

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        """Guards the numbers of items and sources, which several lanes change."""
        self._started = time.perf_counter()
        self._to_infer: queue.SimpleQueue[ReadyBatch | None] = queue.SimpleQueue()
        self._to_write: queue.Queue[tuple[ReadyBatch, Outputs] | None] = queue.Queue(maxsize=8)
        self._released: deque[int] = deque()
        self._error: BaseException | None = None
        self._ending = False
        self._written = 0
        """Tasks of which everything is written, each counted as often as it has spans."""
        streams = (device for device in self.devices for _ in range(device.clock.lanes))
        self._lanes = [
            threading.Thread(target=self._infer_loop, args=(device, lane), name=f"infer {lane}", daemon=True)
            for lane, device in enumerate(streams)
        ]
        self._writer = threading.Thread(target=self._write_loop, name="writer", daemon=True)

    @property
    def waiting(self) -> tuple[int, int]:
        """How many batches wait for the engine, and how many for the writer."""
        return self._to_infer.qsize(), self._to_write.qsize()

    def run(self, tasks: TaskList, tick: Callable[[], None]) -> None:
        """Carry out the tasks; workers and engines end with them. Calls `tick` several times a second.

        Returns when all chunks are committed, or after the chunk in flight when a stop was asked for.

        Raises:
            RunError: the run cannot go on; an engine hangs.
            EngineError: the engine cannot execute a batch of one.
            CanaryError: what a device gives is wrong.
        """
        for thread in (*self._lanes, self._writer):
            thread.start()
        try:
            self._loop(tasks, tick)
        finally:
            self._ending = True
            self.pool.end()
            for _ in self._lanes:
                self._to_infer.put(None)
            for device in self.devices:
                device.close()  # a lane that waits for it goes on
            self._wait_for(lambda: not any(lane.is_alive() for lane in self._lanes))
            for lane in self._lanes:
                lane.join()
            self._wait_for(lambda: not self._to_write.full())
            self._to_write.put(None)
            self._wait_for(lambda: not self._writer.is_alive())
            self._writer.join()
            self.stager.abandon()
        if self._error is not None:
            raise self._error

    def _wait_for(self, true: Callable[[], bool]) -> None:
        """Wait until a condition holds; if the run has to end at once, abandon what is in flight instead."""
        while not true():
            if self._ends_at_once:
                self.stager.give_up()
                self.canaries.close()
                return
            time.sleep(_POLL_S)

    @property
    def _ends_at_once(self) -> bool:
        stop = self.stop
        return stop.now or (stop.signal is not None and time.monotonic() - stop.at > self.grace_s)

    def _loop(self, tasks: TaskList, tick: Callable[[], None]) -> None:
        last: int | None = None  # the chunk to end with, once a stop was asked for
        while self._error is None:
            self.canaries.check()
            if self.stop.signal is not None and last is None:
                last = self.stager.chunks
                if tasks.newest >= last:
                    name = self.stop.signal.name
                    self.say(f"{name}: finishing the chunk in flight, at most {self.grace_s:g} s")
            if last is not None and (tasks.newest < last or self.stager.chunks > last):
                return
            if self._ends_at_once:
                self.say("stopping at once: the chunk in flight is dropped; committed results are kept")
                return
            while self.pool.wants_task() and (task := tasks.take(last)) is not None:
                self.pool.submit(task)
            if tasks.exhausted and self._written == tasks.pieces:
                return
            for message in self.pool.poll(_TICK_S):
                for ready in (message,) if isinstance(message, ReadyBatch) else tasks.split(message):
                    self._count(ready)
                    self._to_infer.put(ready)
            while self._released:
                self.pool.release(self._released.popleft())
            tick()

    def _count(self, ready: ReadyBatch) -> None:
        reader, preprocess = self.effort.clocks["reader"], self.effort.clocks["preprocess"]
        times, items = ready.times, len(ready.rows)
        reader.add(times.busy_s["reader"], items)
        reader.wait_in_s += times.wait_task_s
        preprocess.add(times.busy_s["preprocess"], items)
        preprocess.wait_out_s += times.wait_slot_s
        self.effort.frames.add(ready.counts)
        if ready.slot is not None:
            self.effort.first_batch_s = self.effort.first_batch_s or time.perf_counter() - self._started
            worker = ready.slot // self.pool.slots.shape.per_worker
            peaks = self.effort.worker_rss_kb
            peaks[worker] = max(peaks.get(worker, 0), times.peak_rss_kb)
        self.observer.ready(ready)

    @contextmanager
    def _errors_end_the_run(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self._error = self._error or error
            self.pool.wake()

    def _infer_loop(self, device: Device, lane: int) -> None:
        clock = device.clock
        with self._errors_end_the_run():
            while True:
                with clock.waiting_in():
                    ready = self._to_infer.get()
                if ready is None or self._ending:
                    return
                try:
                    outputs = self._infer(device, lane, ready)
                except ResnetPipeError as error:
                    if self._ending:
                        return  # the engine was ended, because nobody wants its answer any more
                    if isinstance(error, UsageError):  # too late for its exit code: there may be results
                        raise EngineError(error.problem, error.remedy) from error
                    raise
                with self._lock:
                    self.effort.items += len(ready.rows)
                    self.effort.sources += ready.sources
                with clock.waiting_out():
                    self._to_write.put((ready, outputs))

    def _infer(self, device: Device, lane: int, ready: ReadyBatch) -> Outputs:
        slot = ready.slot
        if slot is None:
            return {}
        started = time.perf_counter()
        placements = _placements(ready) if device.finds_objects else None
        outputs = device.infer(slot, len(ready.rows), ready.size, placements)
        now = time.perf_counter()
        device.clock.add(now - started, len(ready.rows))
        batch = self.pool.slots.batch(slot, ready.size)[: len(ready.rows)]
        self.canaries.look_at(device, batch, outputs, placements)
        self.observer.inferred(Forward(ready, batch, outputs, lane, started, now))
        self._released.append(slot)
        self.pool.wake()
        return outputs

    def _write_loop(self) -> None:
        clock = self.effort.clocks["writer"]
        while True:
            with clock.waiting_in():
                result = self._to_write.get()
            if result is None:
                return
            if self._ending or self._error is not None:
                continue  # only taken so that the engine's thread can end too
            with self._errors_end_the_run(), suppress(GivenUpError):
                ended = self.stager.accept(*result)
                if ended:
                    self._written += ended
                    self.pool.wake()


def _placements(ready: ReadyBatch) -> NDArray[np.int32]:
    """Return where the images of a batch lie in the network's input: left, top, width, height, pixels."""
    found = [row.placement[2:] for row in ready.rows if row.placement is not None]
    return np.array(found, np.int32)
