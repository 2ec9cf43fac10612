"""The actor on a node: a chunk runner, fed by the driver. It stages, and commits nothing."""

from __future__ import annotations

import platform
import queue
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

from resnet_pipe import __version__
from resnet_pipe.errors import ResnetPipeError, UsageError
from resnet_pipe.ledger.ledger import Ledger, record_name
from resnet_pipe.ledger.record import Failure, Record
from resnet_pipe.machine import cv2_import
from resnet_pipe.machine.description import versions
from resnet_pipe.run.chunk_runner import ChunkRunner
from resnet_pipe.run.executors.commits import check_input
from resnet_pipe.run.executors.ray.messages import (
    Answer,
    Ended,
    Failed,
    Message,
    Question,
    Ready,
    Setup,
    Staged,
    Told,
)
from resnet_pipe.run.executors.ray.model_files import ModelFile, with_model_here
from resnet_pipe.run.observe.events import Event, Events
from resnet_pipe.run.observe.history import History
from resnet_pipe.run.observe.observer import Guard
from resnet_pipe.run.observe.outcome import Effort
from resnet_pipe.run.plan import Chunk
from resnet_pipe.run.spool import Spool
from resnet_pipe.run.stop import Stop

BEAT_S = 1.0
"""The longest that an actor takes to answer: then it says that there is nothing to say."""


def versions_here(distributions: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of what must be the same on all nodes; the distributions are the engine's."""
    try:
        cv2_import.require()
    except UsageError as error:
        return {"resnet-pipe": __version__, "cv2": error.problem}
    import cv2

    return {"resnet-pipe": __version__, "cv2": cv2.__version__, **versions(distributions)}


class Actor:
    """Runs the chunks that it is given. Ray calls its methods, each from a thread of its own.

    All but the answer to the question is said in messages, which `take` returns.
    """

    def __init__(self) -> None:
        self._outbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._chunks: deque[Chunk] = deque()
        self._no_more = False
        self._stop = Stop()
        self._committed = threading.Condition()
        self._commits: set[str] = set()
        """Chunks that the driver has committed, and nobody has looked for yet."""
        self._wake: Callable[[], None] | None = None

    def answer(self, question: Question) -> Answer:
        """Return what this actor is, and what it sees."""
        no_output, has_input = "", False
        try:
            Ledger(question.output, question.tag).store.see(question.sign)
            has_input = not question.files.is_gone()
        except OSError as error:
            no_output = error.strerror or str(error)
        except ResnetPipeError as error:
            no_output = error.problem
        return Answer(platform.node(), versions_here(question.distributions), no_output, has_input)

    def start(self, setup: Setup, files: list[ModelFile]) -> None:
        """Start the workers, load the engine, and run chunks; returns at once."""
        threading.Thread(target=self._run, args=(setup, files), name="chunks", daemon=True).start()

    def give(self, chunk: Chunk) -> None:
        """Run a chunk after those that have been given before."""
        self._chunks.append(chunk)
        self._look()

    def finish(self) -> None:
        """End when all chunks that have been given are committed."""
        self._no_more = True
        self._look()

    def stop(self, number: int) -> None:
        """End after the chunk in flight, as a run does after a signal."""
        self._stop.note(signal.Signals(number))
        self._look()

    def commit_done(self, chunk: str) -> None:
        """Go on: a chunk that was staged is committed."""
        with self._committed:
            self._commits.add(chunk)
            self._committed.notify_all()

    def take(self) -> list[Message]:
        """Return the messages since the last time, as soon as there are any; none if that takes too long."""
        messages: list[Message] = []
        with suppress(queue.Empty):
            messages.append(self._outbox.get(timeout=BEAT_S))
            while True:
                messages.append(self._outbox.get_nowait())
        return messages

    def _look(self) -> None:
        wake = self._wake
        if wake is not None:
            with suppress(OSError):  # it has ended meanwhile
                wake()

    def _feed(self) -> Iterator[Chunk | None]:
        while True:
            if self._chunks:
                yield self._chunks.popleft()
            elif self._no_more:
                return
            else:
                yield None

    def _run(self, setup: Setup, files: list[ModelFile]) -> None:
        effort, seen, error = Effort(), None, None
        try:
            resolved = with_model_here(setup.resolved, files, setup.attempt)
            events = Events(self._tell)
            history = History.of(resolved)
            guard = Guard(events)
            runner = ChunkRunner(resolved, setup.workload, self._stop, events, guard, history, setup.trace)
            effort = runner.effort
            ledger = Ledger(setup.output, setup.tag, setup.attempt)
            with runner.started(), ledger.store.attempted():
                self._wake = runner.wake
                self._outbox.put(Ready())
                self._run_chunks(runner, ledger, setup)
                seen = history.seen()
        except Exception as caught:
            error = caught.with_traceback(None)
        self._outbox.put(Ended(error, effort, seen))

    def _run_chunks(self, runner: ChunkRunner, ledger: Ledger, setup: Setup) -> None:
        spool = Spool(ledger.store.spool, ledger.store.home, setup.resolved.digest, setup.attempt)
        sources = setup.resolved.job.reader.make_reader().files

        def deliver(chunk: Chunk, record: Record) -> None:
            runner.canaries.require()
            ledger.store.complete(record_name(chunk.id))
            self._outbox.put(Staged(replace(record, canary=runner.canaries.figures)))
            self._wait_for_commit(chunk.id)

        def on_failure(failure: Failure, chunk: str) -> None:
            check_input(failure, sources)
            self._outbox.put(Failed(failure, chunk))

        runner.run(self._feed(), ledger, spool, deliver, on_failure)

    def _wait_for_commit(self, chunk: str) -> None:
        """Wait until the driver has committed a chunk; where it will not, it ends this process."""
        with self._committed:
            self._committed.wait_for(lambda: chunk in self._commits)
            self._commits.remove(chunk)

    def _tell(self, event: Event) -> None:
        self._outbox.put(Told(event.name, event.fields))
