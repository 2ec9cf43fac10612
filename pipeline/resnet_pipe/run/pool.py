"""The worker processes: starts them, hands out tasks and slots, and replaces the ones that die or hang."""

from __future__ import annotations

import multiprocessing
import subprocess
from collections import deque
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait

from resnet_pipe import child
from resnet_pipe.errors import RunError
from resnet_pipe.preprocess.geometry import Geometry
from resnet_pipe.reader.reader import Reader
from resnet_pipe.run.outbox import Outbox
from resnet_pipe.run.slots import Slots, SlotShape
from resnet_pipe.run.task import Failure, Filled, Setup, Split, Task

TASKS_AHEAD = 2
"""Tasks a worker holds: one it is on, and one so that it never waits for an answer."""
MAX_IDLE_DEATHS = 5
"""Deaths in a row, on no source in particular, after which the machine is at fault and not a file."""
_WORKER = "resnet_pipe.run.worker"
_TICK_S = 0.25
"""How often workers are looked at for hanging, at the latest."""


@dataclass
class _Member:
    """One worker process as the run sees it."""

    number: int
    process: subprocess.Popen[bytes]
    connection: Connection
    outbox: Outbox
    tasks: deque[Task] = field(default_factory=deque)
    in_flight: set[int] = field(default_factory=set)
    posted: Filled | None = None
    """The last message about the task it is on; None if there was none."""
    timed_out: bool = False


class WorkerPool:
    """The worker processes of a run.

    Args:
        reader: turns keys into items, in the workers.
        geometry: brings frames to the network's input size, in the workers.
        shape: of the shared memory.
        timeout_s: a source that takes longer is given up, and its worker replaced.
    """

    def __init__(
        self, reader: Reader, geometry: Geometry, shape: SlotShape, timeout_s: float, traced: bool
    ) -> None:
        self._reader = reader
        self._geometry = geometry
        self._timeout_s = timeout_s
        self._traced = traced
        self.slots = Slots(shape)
        self._extra_failures: dict[tuple[int, int], list[Failure]] = {}
        self._idle_deaths = 0
        self.deaths = 0
        """Workers that had to be replaced."""
        self._wake_receiver, self._wake_sender = multiprocessing.Pipe(duplex=False)
        self._members = [self._start(number, frozenset()) for number in range(shape.workers)]

    def wants_task(self) -> bool:
        """Tell whether a worker has room for another task."""
        return any(len(member.tasks) < TASKS_AHEAD for member in self._members)

    def submit(self, task: Task) -> None:
        """Give a task to the worker with the fewest."""
        member = min(self._members, key=lambda member: len(member.tasks))
        member.tasks.append(task)
        member.outbox.put(task)

    def release(self, slot: int) -> None:
        """Give a slot back to its worker: its batch is no longer needed."""
        member = self._members[slot // self.slots.shape.per_worker]
        member.in_flight.discard(slot)
        member.outbox.put(slot)

    def wake(self) -> None:
        """Make `poll` return soon. The only method for other threads."""
        self._wake_sender.send_bytes(b"")

    def poll(self, timeout_s: float) -> list[Filled | Split]:
        """Return what the workers have finished, waiting up to `timeout_s` for something to happen.

        A worker that has died or hangs is replaced; the source it was on becomes a failure.

        Raises:
            RunError: workers keep dying without being on a source.
        """
        connections = {member.connection: member for member in self._members}
        ready = wait([*connections, self._wake_receiver], min(timeout_s, _TICK_S))
        messages: list[Filled | Split] = []
        for connection in ready:
            if connection is self._wake_receiver:
                self._wake_receiver.recv_bytes()
                continue
            member = connections[connection]  # type: ignore[index]
            try:
                messages.append(self._accept(member, member.connection.recv()))
            except (EOFError, OSError):  # at the end of a message, or in the middle of one
                self._replace(member)
        self._kill_hanging()
        return messages

    def close(self) -> None:
        """End all workers, whatever they are doing, and free the memory."""
        for member in self._members:
            member.process.kill()
        for member in self._members:
            member.process.wait()
            member.outbox.close()

    def _accept(self, member: _Member, message: Filled | Split) -> Filled | Split:
        self._idle_deaths = 0
        if isinstance(message, Split):
            member.tasks.popleft()
            return message
        if message.slot is not None:
            member.in_flight.add(message.slot)
        member.posted = message
        if not message.last:
            return message
        member.tasks.popleft()
        member.posted = None
        extra = self._extra_failures.pop((message.task, message.span), [])
        return replace(message, failures=[*extra, *message.failures])

    def _start(self, number: int, in_flight: frozenset[int]) -> _Member:
        ours, theirs = multiprocessing.Pipe()
        process = child.start(_WORKER, theirs.fileno(), self.slots.descriptor)
        theirs.close()
        member = _Member(number, process, ours, Outbox(ours), in_flight=set(in_flight))
        shape = self.slots.shape
        free = tuple(slot for slot in shape.slots_of(number) if slot not in in_flight)
        member.outbox.put(Setup(number, self._reader, self._geometry, shape, free, self._traced))
        return member

    def _replace(self, member: _Member) -> None:
        """Start a worker in the place of a dead one, with the tasks it had less the source it died on."""
        status = member.process.wait()
        member.outbox.close()
        self.deaths += 1
        current = self.slots.current(member.number)
        self.slots.end(member.number)
        task = member.tasks[0] if member.tasks else None
        if task is not None and current is not None and current[0] == task.index:
            failure = self._failure(member, task.keys[current[1]], status)
            span = task.span.index if task.span else 0
            self._extra_failures.setdefault((task.index, span), []).append(failure)
            member.tasks[0] = _rest(task, member.posted, current[1])
        else:
            if task is not None:
                member.tasks[0] = _rest(task, member.posted, None)
            self._idle_deaths += 1
            if self._idle_deaths >= MAX_IDLE_DEATHS:
                raise RunError(
                    f"{self._idle_deaths} worker processes in a row ended without reading anything"
                    f" (the last: {child.ending(status)})",
                    "look above for their own messages; check memory limits and the installation",
                    "limits",
                )
        new = self._start(member.number, frozenset(member.in_flight))
        self._members[member.number] = new
        for waiting in member.tasks:
            new.tasks.append(waiting)
            new.outbox.put(waiting)

    def _failure(self, member: _Member, key: str, status: int) -> Failure:
        if member.timed_out:
            text = f"not read within reader.timeout_s ({self._timeout_s:g} s); its worker was replaced"
            return Failure(key, "reader", "timeout", text)
        return Failure(key, "reader", "worker_died", f"its worker process {child.ending(status)}")

    def _kill_hanging(self) -> None:
        for member in self._members:
            current = self.slots.current(member.number)
            if current is not None and current[2] > self._timeout_s and not member.timed_out:
                member.timed_out = True
                member.process.kill()


def _rest(task: Task, posted: Filled | None, fatal: int | None) -> Task:
    """Return what is left of a task after its worker has died.

    Args:
        task: as the dead worker had it.
        posted: its last message about the task: what came before it is safe, what came after it is lost.
        fatal: position of the source that it died on; None if it died on none.
    """
    finished, items = (posted.finished, posted.items) if posted else (0, task.skip)
    keys = tuple(key for at, key in enumerate(task.keys) if at >= finished and at != fatal)
    return replace(
        task,
        keys=keys,
        large=None if posted or not keys else task.large,  # what has been read as a whole is not split
        first_part=posted.part + 1 if posted else task.first_part,
        skip=0 if fatal == finished else items,
    )
