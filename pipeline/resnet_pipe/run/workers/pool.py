"""The worker processes: starts them, hands out tasks and slots, and replaces the ones that die or hang."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Set
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait

from resnet_pipe.errors import RunError
from resnet_pipe.ledger.record import Failure
from resnet_pipe.preprocess.geometry import Geometry
from resnet_pipe.process.child import Child, EndedError
from resnet_pipe.process.patience import LOOK_S, Waiting
from resnet_pipe.reader.reader import Reader
from resnet_pipe.run.stop import Stop
from resnet_pipe.run.workers.messages import ReadyBatch, Split, Suspect, Task, WorkerSetup
from resnet_pipe.run.workers.slots import Slots, SlotShape
from resnet_pipe.run.workers.suspicion import Streak, given_up, pieces, rest
from resnet_pipe.run.workers.worker_process import WorkerBroken, WorkerReady

TASKS_AHEAD = 2
"""Tasks a worker holds: the current one, and one more so that it never waits for an answer."""
MAX_IDLE_DEATHS = 5
"""Consecutive deaths, not tied to a source, after which the machine and not a file is to blame."""
_WORKER = "resnet_pipe.run.workers.worker_process"
_START_S = 120.0
"""The longest that a worker may take to start."""


@dataclass
class _Member:
    """One worker process as the run sees it."""

    number: int
    process: Child
    waiting: Waiting
    tasks: deque[Task] = field(default_factory=deque)
    sent: int = 0
    """How many of these it has received."""
    fresh: bool = True
    """It has not got any task."""
    ready: bool = False
    in_flight: set[int] = field(default_factory=set)
    posted: ReadyBatch | None = None
    """The last message about the task it is on; None if there was none."""
    suspicion: Failure | None = None
    """The reason it gave for ending on a source."""
    timed_out: bool = False


@dataclass(eq=False)
class WorkerPool:
    """The worker processes of a run: they read sources, and bring frames to the network's input size.

    A source that takes longer than `timeout_s` is given up, and its worker replaced; `on_retry` is told why a
    source is tried again. If `traced`, workers tell what they did when. For `room`, see `Behind`, and
    for `known`, `Streak`.

    Attributes:
        deaths: workers that had to be replaced.
    """

    reader: Reader
    geometry: Geometry
    shape: SlotShape
    timeout_s: float
    traced: bool
    room: int | None = None
    known: Set[str] = frozenset()
    on_retry: Callable[[Failure], None] = lambda failure: None

    def __post_init__(self) -> None:
        self._streak = Streak(self.known)
        self.slots = Slots(self.shape)
        self._idle_deaths = 0
        self.deaths = 0
        self._wake_receiver, self._wake_sender = multiprocessing.Pipe(duplex=False)
        self._members = [self._start(number, frozenset()) for number in range(self.shape.workers)]

    def wait_until_ready(self, stop: Stop) -> None:
        """Wait until every worker has imported what it needs. Call it before the first task.

        Raises:
            RunError: a worker cannot, or they keep dying.
            StoppedError: somebody asked for a stop.
        """
        while not all(member.ready for member in self._members):
            stop.check("the workers were starting")
            self.poll(LOOK_S)

    def wants_task(self) -> bool:
        """Tell whether a worker has room for another task."""
        return any(len(member.tasks) < TASKS_AHEAD for member in self._members)

    def submit(self, task: Task) -> None:
        """Give a task to the worker with the fewest."""
        member = min(self._members, key=lambda member: len(member.tasks))
        member.tasks.append(task)
        self._supply(member)

    def release(self, slot: int) -> None:
        """Give a slot back to its worker: its batch is no longer needed."""
        member = self._members[slot // self.slots.shape.per_worker]
        member.in_flight.discard(slot)
        member.process.send(slot)

    def wake(self) -> None:
        """Make `poll` return soon. The only method for other threads."""
        self._wake_sender.send_bytes(b"")

    def poll(self, timeout_s: float) -> list[ReadyBatch | Split]:
        """Return what the workers have finished, waiting up to `timeout_s` for something to happen.

        A worker that has died or hangs is replaced. The source it was on is tried once more, by a worker that
        has read nothing before; if that dies or hangs too, the source becomes a failure.

        Raises:
            RunError: workers keep dying without being on a source, cannot work at all, or fail on one source
                after the other.
        """
        if not any(member.tasks for member in self._members) and (held := self._streak.release()):
            return [*held]  # there is nothing that could prove anything
        members = {member.process.fileno(): member for member in self._members}
        ready = wait([*members, self._wake_receiver], min(timeout_s, LOOK_S))
        if self._wake_receiver in ready:
            self._wake_receiver.recv_bytes()
        messages: list[ReadyBatch | Split] = []
        for descriptor, member in members.items():
            if descriptor in ready and (message := self._hear(member)) is not None:
                messages += self._streak.admit(message)
        self._kill_hanging()
        return messages

    def end(self) -> None:
        """End all workers, whatever they are doing. Slots they have filled can still be read."""
        for member in self._members:
            member.process.kill()
        for member in self._members:
            member.process.end()

    def close(self) -> None:
        """End all workers, and give back what the pool holds. No other thread may use it any more."""
        self.end()
        self.reader.sweep()
        self.slots.close()
        self._wake_receiver.close()
        self._wake_sender.close()

    def _hear(self, member: _Member) -> ReadyBatch | Split | None:
        message: ReadyBatch | Split | WorkerReady | WorkerBroken | Suspect
        try:
            message = member.process.receive()
        except EndedError as ended:
            return self._replace(member, ended)
        if isinstance(message, WorkerReady):
            member.ready = True
            return None
        if isinstance(message, WorkerBroken):
            raise RunError(
                f"the worker processes cannot read anything: {message.problem}",
                "repair the installation; no source is recorded as failed because of it",
                "decoders",
            )
        self._idle_deaths = 0
        if isinstance(message, Suspect):
            member.suspicion = message.failure
            return None
        if isinstance(message, ReadyBatch) and message.slot is not None:
            member.in_flight.add(message.slot)
        if isinstance(message, ReadyBatch) and message.finished < len(member.tasks[0].keys):
            member.posted = message
            return message
        task = member.tasks.popleft()
        member.sent -= 1
        member.posted = None
        if not task.final and isinstance(message, ReadyBatch):
            member.tasks[0] = replace(member.tasks[0], first_number=message.number + 1)
        self._supply(member)
        return message

    def _supply(self, member: _Member) -> None:
        """Send a worker the tasks that it may have now.

        With a suspect, and with a piece of a task that another one follows, it gets nothing else; and for a
        suspect it must be fresh.
        """
        while member.sent < len(member.tasks):
            before = member.tasks[member.sent - 1] if member.sent else None
            task = member.tasks[member.sent]
            if before is not None and (before.alone or task.alone or not before.final):
                return
            if task.alone and not member.fresh:
                member = self._restart(member)
            member.process.send(task)
            member.sent += 1
            member.fresh = False

    def _start(self, number: int, in_flight: frozenset[int]) -> _Member:
        process = Child(_WORKER, self.slots.descriptor)
        member = _Member(number, process, Waiting(process.pid), in_flight=set(in_flight))
        shape = self.slots.shape
        free = tuple(slot for slot in shape.slots_of(number) if slot not in in_flight)
        setup = WorkerSetup(number, self.reader, self.geometry, shape, free, self.traced, self.room)
        process.send(setup)
        return member

    def _restart(self, member: _Member) -> _Member:
        """Put a new process, which has got no task yet, into the place of another one."""
        member.process.end()
        self.slots.end(member.number)
        new = self._start(member.number, frozenset(member.in_flight))
        new.tasks = member.tasks
        self._members[member.number] = new
        return new

    def _replace(self, member: _Member, ended: EndedError) -> ReadyBatch | None:
        """Replace a dead worker; return that the source it died on has failed, if that was tried again."""
        self.deaths += 1
        current = self.slots.current(member.number)
        task = member.tasks[0] if member.tasks else None
        message: ReadyBatch | None = None
        if task is None or current is None or current[0] != task.index:
            if task is not None:
                member.tasks[0] = rest(task, member.posted)
            self._count_idle_death(ended)
        else:
            failure = member.suspicion or self._failure(member, task.keys[current[1]], ended)
            del member.tasks[0]
            if task.alone:
                message = given_up(task, member.posted, failure)
                if not task.final:
                    member.tasks[0] = replace(member.tasks[0], first_number=message.number + 1)
            else:
                self.on_retry(failure)
                member.tasks.extendleft(reversed(pieces(task, member.posted, current[1])))
        self._supply(self._restart(member))
        return message

    def _count_idle_death(self, ended: EndedError) -> None:
        self._idle_deaths += 1
        if self._idle_deaths >= MAX_IDLE_DEATHS:
            raise RunError(
                f"{self._idle_deaths} worker processes in a row ended without reading anything"
                f" (the last: {ended})",
                "check their messages above, the memory limits and the installation",
                "limits",
            )

    def _failure(self, member: _Member, key: str, ended: EndedError) -> Failure:
        error, text = "worker_died", f"its worker process {ended}"
        if member.timed_out:
            limit = f"reader.timeout_s ({self.timeout_s:g} s)"
            error, text = "timeout", f"not read within {limit}; its worker was replaced"
        return Failure(key, "reader", error, text, transient=True)

    def _kill_hanging(self) -> None:
        for member in self._members:
            current = self.slots.current(member.number) if member.ready else "its start"
            limit = self.timeout_s if member.ready else _START_S
            if current is not None and member.waiting.look(current) > limit and not member.timed_out:
                member.timed_out = True
                member.process.kill()
