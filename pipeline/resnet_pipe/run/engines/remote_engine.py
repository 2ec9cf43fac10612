"""An engine in its own process, which can be ended whatever it is doing; each device of a run has one.

Batches do not travel: the process maps the memory that they lie in, and is told slot and rows.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import EngineError, ResnetPipeError, RunError
from resnet_pipe.infer.engine import EngineInfo, EngineRequest
from resnet_pipe.process.child import DYING_S, Child, EndedError, SilentError, ending
from resnet_pipe.process.patience import LOOK_S, Waiting
from resnet_pipe.run.engines.detecting import MakesDetections
from resnet_pipe.run.workers.messages import Outputs
from resnet_pipe.run.workers.slots import Slots, SlotShape

LOADING_S = 1800.0
"""How long a network may take to load: TensorRT compiles for minutes."""
_FIRST = 5
_FACTOR = 50.0
_LEAST_S = 60.0
Size = tuple[int, int] | None
"""Height and width of items where they have many sizes; else None."""
_PROCESS = "resnet_pipe.run.engines.engine_process"


def lanes(streams: int, finds_objects: bool) -> int:
    """Return how many batches an engine may be given at the same time.

    Beside its streams, one whose detections are being made.
    """
    return streams + finds_objects


@dataclass(frozen=True)
class EngineSetup:
    """The first message to the process: the engine's module, what it is to load, where batches will be.

    For a network that finds objects, it also says how detections are made of the outputs.
    """

    module: str
    request: EngineRequest
    shape: SlotShape
    detections: MakesDetections | None = None


@dataclass(frozen=True)
class EngineReady:
    """The first answer, if the network is loaded: what runs, and the peak memory. Else it is the error."""

    info: EngineInfo
    peak_rss_kb: int


@dataclass(frozen=True)
class ForwardPass:
    """Rows of a slot to execute the network on; the answer will have its number.

    The size is height and width of the items where they have many; else it is None. For detections, there is
    the part of the network's input that each item's image fills: int32, (n, 4), left, top, width, height.
    """

    number: int
    slot: int
    rows: range
    size: tuple[int, int] | None = None
    placements: NDArray[np.int32] | None = None


@dataclass(frozen=True)
class ForwardResult:
    """The outputs of a `ForwardPass`, or why there are none; the peak memory so far; seconds of parts."""

    number: int
    outputs: Outputs | ResnetPipeError
    peak_rss_kb: int
    parts: Mapping[str, float]


class RemoteEngine:
    """The process of an engine as the run sees it.

    Starting does not wait for the network to be loaded, so that several can load at the same time. The name
    is that of the device, for messages; empty where the run has no other one. For `timeout_s`, see `Pace`.

    Attributes:
        info: what really runs, once it is ready.
        finds_objects: whether it gives detections.
        pid: of the process.
        peak_rss_kb: highest resident memory of it so far, KiB.
        parts: seconds of the parts of all passes, by name, of a network that finds objects.
    """

    info: EngineInfo

    def __init__(
        self,
        module: str,
        request: EngineRequest,
        slots: Slots,
        name: str,
        timeout_s: float,
        detections: MakesDetections | None = None,
    ) -> None:
        self.name = name
        self.finds_objects = detections is not None
        self._device = name or f"device {request.device}"
        self._pace = Pace(timeout_s)
        self._process = Child(_PROCESS, slots.descriptor)
        self.pid = self._process.pid
        self._lock = threading.Lock()
        """Guards what follows."""
        self._asked: dict[int, Future[Outputs]] = {}
        self._over: RunError | None = None
        """Why there are no more answers; None while there may be some."""
        self._numbers = itertools.count()
        self.peak_rss_kb = 0
        self.parts: dict[str, float] = {}
        self._receiver = threading.Thread(
            target=self._receive, name=f"answers of {self._device}", daemon=True
        )
        self._process.send(EngineSetup(module, request, slots.shape, detections))

    def wait_until_ready(self, look: Callable[[], object]) -> None:
        """Wait until the network is loaded. Comes first.

        Meanwhile `look` is called several times a second; what it raises ends the waiting.

        Raises:
            ResnetPipeError: it could not be; see `engine.load`.
            RunError: the process ended instead, or hangs.
        """
        try:
            answer: EngineReady | ResnetPipeError = self._process.receive(LOADING_S, look)
        except SilentError:
            text = f"the network did not load within {LOADING_S:.0f} s on {self._device}"
            raise RunError(text, "see the engine's messages above", "engines") from None
        except EndedError as ended:
            raise self._gone(str(ended)) from None
        if isinstance(answer, ResnetPipeError):
            raise answer
        self.info, self.peak_rss_kb = answer.info, answer.peak_rss_kb
        self._receiver.start()

    def infer(
        self, slot: int, rows: range, size: Size = None, placements: NDArray[np.int32] | None = None
    ) -> Outputs:
        """Execute the network on some rows of a slot; see `ForwardPass` and `Engine.infer`.

        Raises:
            EngineError: the network could not be executed on them.
            RunError: the engine is not there any more, or hangs.
        """
        asked: Future[Outputs] = Future()
        with self._lock:
            if self._over is not None:
                raise self._over
            number = next(self._numbers)
            self._asked[number] = asked
            self._process.send(ForwardPass(number, slot, rows, size, placements))
        waiting, started = Waiting(self.pid), time.perf_counter()
        while not wait((asked,), LOOK_S).done:
            seconds = waiting.look(number)
            if seconds > self._pace.limit_s(len(rows), size):
                self._end(self._hangs(len(rows), size, seconds))
        outputs = asked.result()
        self._pace.note(len(rows), time.perf_counter() - started, size)
        return outputs

    def shrink(self, batch_size: int) -> None:
        """Use at most `batch_size` from now on; see `Engine.shrink`."""
        self._process.send(batch_size)

    def close(self) -> None:
        """End the process, whatever it is doing, and tell waiting callers. May be called again."""
        self._end(self._gone("has ended with the run"))
        if self._receiver.is_alive():
            self._receiver.join(DYING_S)
        if not self._receiver.is_alive():  # or a driver keeps the process in the kernel
            self._process.end()

    def _receive(self) -> None:
        try:
            with suppress(EndedError):
                while True:
                    self._accept(self._process.receive())
        finally:
            self._process.kill()  # nobody would hear its answers
            self._end(self._gone(ending(self._process.status())))

    def _accept(self, answer: ForwardResult) -> None:
        self.peak_rss_kb = answer.peak_rss_kb
        for name, seconds in answer.parts.items():
            self.parts[name] = self.parts.get(name, 0.0) + seconds
        with self._lock:
            asked = self._asked.pop(answer.number, None)
        if asked is None:
            return  # it has been given up
        if isinstance(answer.outputs, EngineError):
            error = answer.outputs
            problem = f"{self.name}: {error.problem}" if self.name else error.problem
            asked.set_exception(EngineError(problem, error.remedy, error.check))
        elif isinstance(answer.outputs, ResnetPipeError):
            asked.set_exception(answer.outputs)
        else:
            asked.set_result(answer.outputs)

    def _end(self, reason: RunError) -> None:
        """Kill the process, and tell current and future callers why; the first reason counts."""
        with self._lock:
            self._over = self._over or reason
            for asked in self._asked.values():
                asked.set_exception(self._over)
            self._asked.clear()
        self._process.kill()

    def _gone(self, ending: str) -> RunError:
        return RunError(
            f"the engine process of {self._device} {ending}",
            "see its messages above; committed results are kept: run the same command again",
            "engines",
        )

    def _hangs(self, rows: int, size: Size, seconds: float) -> RunError:
        return RunError(
            f"the engine hangs: {self.name or self.info.device} has not answered a batch of {rows} for"
            f" {seconds:.0f} s, {self._pace.excess(rows, size)}",
            "committed results are kept: run the same command again; if it hangs again, use another"
            " infer.engine",
            "engines",
        )


class Pace:
    """What a forward pass may take. Used from several threads.

    That is `infer.timeout_s`; but once the first batches of a size have shown what they take, no more than
    many times the slowest of them, and a minute at least. The size of a batch is the number of its rows and,
    where items have many, their height and width.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._first: dict[tuple[int, Size], list[float]] = {}
        """Seconds of the first batches, by their size."""

    def note(self, rows: int, seconds: float, size: Size = None) -> None:
        """Note what a batch of so many rows has taken."""
        first = self._first.setdefault((rows, size), [])
        if len(first) < _FIRST:
            first.append(seconds)

    def limit_s(self, rows: int, size: Size = None) -> float:
        """Return the seconds that a batch of so many rows may take."""
        first = self._first.get((rows, size), ())
        if len(first) < _FIRST:
            return self._timeout_s
        return min(self._timeout_s, max(_LEAST_S, _FACTOR * max(first)))

    def excess(self, rows: int, size: Size = None) -> str:
        """Return in words what the limit for so many rows comes from."""
        if self.limit_s(rows, size) == self._timeout_s:
            return "longer than infer.timeout_s (raise it if a batch may take that long)"
        slowest = max(self._first[rows, size])
        return f"while none of the first {_FIRST} of this size took longer than {slowest:.2g} s"
