"""An engine in a process of its own: each of several devices has one, and none waits for another one's lock.

Batches do not travel: the process maps the memory that they lie in, and is told slot and rows.
"""

from __future__ import annotations

import itertools
import multiprocessing
import threading
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass

from resnet_pipe import child
from resnet_pipe.errors import EngineError, ResnetPipeError, RunError
from resnet_pipe.infer.engine import EngineInfo, EngineRequest
from resnet_pipe.run.slots import Slots, SlotShape
from resnet_pipe.run.task import Outputs

_PROCESS = "resnet_pipe.run.engine_process"


@dataclass(frozen=True)
class Setup:
    """The first message to the process.

    Attributes:
        module: of the engine; see `engine.ENGINES`.
        request: what to load.
        shape: of the memory with the batches.
    """

    module: str
    request: EngineRequest
    shape: SlotShape


@dataclass(frozen=True)
class Ready:
    """The first answer, if the network is loaded; else it is the error.

    Attributes:
        info: what runs.
        peak_rss_kb: highest resident memory so far, KiB.
    """

    info: EngineInfo
    peak_rss_kb: int


@dataclass(frozen=True)
class Work:
    """Rows of a slot to execute the network on.

    Attributes:
        number: that the answer will have.
        slot: where the batch is.
        rows: of it.
    """

    number: int
    slot: int
    rows: range


@dataclass(frozen=True)
class Answer:
    """What came of it.

    Attributes:
        number: of the `Work`.
        outputs: of the network, or why there are none.
        peak_rss_kb: highest resident memory so far, KiB.
    """

    number: int
    outputs: Outputs | ResnetPipeError
    peak_rss_kb: int


class RemoteEngine:
    """The process of an engine as the run sees it: a `SlotEngine` once it is ready.

    Starting does not wait for the network to be loaded, so that several can load at the same time.

    Args:
        module: of the engine; see `engine.ENGINES`.
        request: what to load.
        slots: where the batches are.
        name: of the device, for messages.
    """

    info: EngineInfo

    def __init__(self, module: str, request: EngineRequest, slots: Slots, name: str) -> None:
        self._name = name
        self._connection, theirs = multiprocessing.Pipe()
        self._process = child.start(_PROCESS, theirs.fileno(), slots.descriptor)
        theirs.close()
        self.pid = self._process.pid
        self._lock = threading.Lock()
        """Guards sending, and what follows."""
        self._asked: dict[int, Future[Outputs]] = {}
        self._ending: str | None = None
        """How the process ended, once it has."""
        self._numbers = itertools.count()
        self._peak_rss_kb = 0
        self._receiver = threading.Thread(target=self._receive, name=f"answers of {name}", daemon=True)
        self._send(Setup(module, request, slots.shape))

    def wait_until_ready(self) -> None:
        """Wait until the network is loaded. Comes first.

        Raises:
            ResnetPipeError: it could not be; see `engine.load`.
            RunError: the process ended instead.
        """
        try:
            answer: Ready | ResnetPipeError = self._connection.recv()
        except (EOFError, OSError):
            raise self._gone(child.ending(self._process.wait())) from None
        if isinstance(answer, ResnetPipeError):
            raise answer
        self.info, self._peak_rss_kb = answer.info, answer.peak_rss_kb
        self._receiver.start()

    def infer(self, slot: int, rows: range) -> Outputs:
        """Execute the network; see `SlotEngine.infer`."""
        asked: Future[Outputs] = Future()
        with self._lock:
            if self._ending is not None:
                raise self._gone(self._ending)
            number = next(self._numbers)
            self._asked[number] = asked
            self._send(Work(number, slot, rows))
        return asked.result()

    def shrink(self, batch_size: int) -> None:
        """Use a smaller batch from now on; see `Engine.shrink`."""
        with self._lock:
            self._send(batch_size)

    def peak_rss_kb(self) -> int:
        """Return the highest resident memory of its process so far, KiB."""
        return self._peak_rss_kb

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        if self._receiver.is_alive():
            self._receiver.join()
        self._connection.close()

    def _send(self, message: Setup | Work | int) -> None:
        with suppress(ConnectionError):  # whoever waits for an answer will learn how the process ended
            self._connection.send(message)

    def _receive(self) -> None:
        try:
            while True:
                self._accept(self._connection.recv())
        except (EOFError, OSError):
            pass  # it has ended, maybe in the middle of a message
        finally:
            self._process.kill()  # nobody would hear its answers
            status = self._process.wait()
            with self._lock:
                self._ending = child.ending(status)
                for asked in self._asked.values():
                    asked.set_exception(self._gone(self._ending))
                self._asked.clear()

    def _accept(self, answer: Answer) -> None:
        self._peak_rss_kb = answer.peak_rss_kb
        with self._lock:
            asked = self._asked.pop(answer.number)
        if isinstance(answer.outputs, EngineError):
            error = answer.outputs
            asked.set_exception(EngineError(f"{self._name}: {error.problem}", error.remedy, error.check))
        elif isinstance(answer.outputs, ResnetPipeError):
            asked.set_exception(answer.outputs)
        else:
            asked.set_result(answer.outputs)

    def _gone(self, ending: str) -> RunError:
        return RunError(
            f"the engine process of {self._name} {ending}",
            "look above for its own messages; what is committed stays: run the same command again",
            "engines",
        )
