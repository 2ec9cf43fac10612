"""The executor of a Ray cluster: hands chunks to actors on its nodes, and commits what they have staged."""

from __future__ import annotations

import time
import uuid
from collections import Counter, deque
from dataclasses import replace
from pathlib import Path
from typing import Any

from resnet_pipe.errors import ResnetPipeError, RunError, UsageError
from resnet_pipe.ledger.ledger import record_name
from resnet_pipe.ledger.record import Record
from resnet_pipe.run.canary import CanaryError
from resnet_pipe.run.executors.commits import Commits
from resnet_pipe.run.executors.executor import Executor
from resnet_pipe.run.executors.ray import figures, model_files
from resnet_pipe.run.executors.ray.admission import Admission, admission
from resnet_pipe.run.executors.ray.cluster import Room, connected
from resnet_pipe.run.executors.ray.crew import Crew, Lost, Member, State
from resnet_pipe.run.executors.ray.messages import Answer, Ended, Failed, Message, Ready, Setup, Staged, Told
from resnet_pipe.run.executors.ray.telling import Telling
from resnet_pipe.run.observe.outcome import Effort
from resnet_pipe.run.plan import Chunk
from resnet_pipe.run.prepared import Prepared
from resnet_pipe.run.spool import Spool
from resnet_pipe.run.workload import workload

IN_FLIGHT = 2
"""Chunks that an actor has: the one it is on, and the next, so that it need not wait."""
MAX_DEATHS = 3
"""Actors that a chunk may take with it."""
NO_ACTOR_S = 300.0
"""How long a run goes on without any actor that works."""
_LONG_S = 15.0
"""After which somebody should know that there is no worker yet."""
_STRAGGLERS_S = 10.0
"""How long the first chunk waits for other actors to say that they can take part."""
_LAST_WORDS_S = 10.0
"""How long actors have to say what they have needed; and how much longer than the grace of a stop."""


class RayExecutor(Executor):
    """Carries out a plan on the nodes of a cluster. This process is the only one that commits."""

    def run_chunks(self, prepared: Prepared, spool: Spool, folder: Path | None) -> None:
        """Begin, and run the chunks of a plan; see `Executor`."""
        section = self.resolved.job.run.ray
        room = Room(section, section.gpus(self.resolved.job.infer.devices))
        self.effort = Effort(batch_size=self.resolved.batch_size)

        def look() -> None:
            self.stop.check("connecting with the Ray cluster")

        sign = f"seen{uuid.uuid4().hex[:12]}"
        with connected(section.address, look), admission(self.resolved, prepared.results, sign) as rules:
            if not room.slots():
                raise UsageError(
                    f"no node of the Ray cluster has room for a worker, which takes {room.describe()}",
                    "see `ray status`, and run.ray.cpus_per_worker and run.ray.gpus_per_worker",
                )
            driver = _Driver(self, prepared, folder, rules, Crew(room, rules.question))
            try:
                driver.run()
            except CanaryError:
                spool.clear()  # what the engine gave for finished spans is as wrong
                raise


class _Driver:
    """A plan while it is carried out on a cluster."""

    def __init__(
        self, executor: Executor, prepared: Prepared, folder: Path | None, rules: Admission, crew: Crew
    ) -> None:
        self._executor = executor
        self._events = executor.events
        self._stop = executor.stop
        self._prepared = prepared
        self._folder = folder if executor.resolved.job.run.trace else None
        self._admission = rules
        self._crew = crew
        self._pace = executor.pace
        self._commits = Commits(prepared, executor.events, executor.counts, self._pace)
        self._workload = workload(executor.resolved, prepared.plan)
        self._model: Any = None
        """Ray's reference to the files of the model, once an actor needs them."""
        self._chunks = self._pace.chunks(prepared.plan)
        self._again: deque[Chunk] = deque()
        """Chunks of actors that are lost."""
        self._left = prepared.plan.chunk_count
        self._deaths: Counter[str] = Counter()
        self._attempts: list[str] = []
        """The names under which actors stage."""
        self._efforts: list[tuple[str, Effort]] = []
        self._telling = Telling(executor.events)
        self._started = time.monotonic()
        self._first_ready: float | None = None
        self._begun: float | None = None
        """When, time.perf_counter()."""
        self._stopping = False

    def run(self) -> None:
        """Run all chunks, or until a stop; the actors end with it."""
        try:
            while self._left and not self._ends():
                self._turn()
            if not self._left or self._pace.ended:
                self._finish()
        finally:
            self._progress()
            for member in [*self._crew.members]:
                self._crew.end(member)
            effort = self._executor.effort
            figures.together(self._efforts, effort)
            effort.run_seconds = time.perf_counter() - self._begun if self._begun is not None else 0.0
            self._prepared.ledger.store.drop(self._attempts)

    def _turn(self) -> None:
        self._crew.fill()
        self._begin()
        if self._first_ready is None and time.monotonic() - self._started > _LONG_S:
            self._telling.once(f"waiting for a worker: {self._crew.lost}; see `ray status`")
        self._feed()
        for member, said in self._crew.hear():
            self._on(member, said)
        if time.monotonic() - self._crew.known > NO_ACTOR_S:
            raise RunError(
                f"for {NO_ACTOR_S:.0f} s, the Ray cluster has had no worker: {self._crew.lost}",
                "see `ray status`; once it has room again, the same command continues",
            )
        self._progress()

    def _ends(self) -> bool:
        """Tell whether to end before all chunks are committed; tell the actors that a stop was asked for."""
        stop = self._stop
        at_work = [member for member in self._crew.ready if member.given]
        if stop.signal is None:
            return self._pace.ended and not at_work and not self._again
        if self._begun is None:
            stop.check("the workers on the cluster were starting")
        if not self._stopping:
            self._stopping = True
            for member in at_work:
                member.tell("stop", int(stop.signal))
        grace_s = self._executor.resolved.job.run.grace_s + _LAST_WORDS_S
        return stop.now or not at_work or time.monotonic() - stop.at > grace_s

    def _begin(self) -> None:
        """Begin as soon as an actor is proved to work, and the others have had time to be refused."""
        if self._begun is not None or self._first_ready is None:
            return
        asked = any(member.state is State.ASKED for member in self._crew.members)
        if asked and time.monotonic() - self._first_ready < _STRAGGLERS_S:
            return
        self._prepared.begin()
        self._begun = time.perf_counter()
        self._executor.guard.call("history", self._executor.history.start)

    def _feed(self) -> None:
        if self._begun is None or self._stopping:
            return
        self._pace.runners = max(1, len(self._crew.ready))
        for count in range(IN_FLIGHT):
            for member in self._crew.ready:
                if len(member.given) > count or member.slot.node in self._crew.leaving:
                    continue
                chunk = self._again.popleft() if self._again else next(self._chunks, None)
                if chunk is None:
                    return
                member.given[chunk.id] = chunk
                member.tell("give", chunk)

    def _on(self, member: Member, said: Answer | Message | Lost) -> None:
        if isinstance(said, Told):
            self._telling.pass_on(member, said)
        elif isinstance(said, Failed):
            self._commits.on_failure(said.failure, said.chunk)
        elif isinstance(said, Staged):
            self._commit(member, said.record)
        elif isinstance(said, Answer):
            self._admit(member, said)
        elif isinstance(said, Ready):
            member.state = State.READY
            self._first_ready = self._first_ready or time.monotonic()
        elif isinstance(said, Ended):
            self._end(member, said)
        else:
            self._lose(member, said.reason)

    def _admit(self, member: Member, answer: Answer) -> None:
        """Let an actor take part, and tell it what to do."""
        import ray

        member.node = answer.node
        try:
            self._admission.check(answer)
        except UsageError as error:
            raise self._in_time(error) from None
        ledger, resolved = self._prepared.ledger, self._executor.resolved
        if self._model is None:
            self._model = ray.put(model_files.read(resolved))
        planned = -(-self._workload.planned // len(self._crew.members))
        setup = Setup(
            resolved,
            replace(self._workload, planned=planned, cores=member.slot.cpus),
            ledger.output,
            ledger.tag,
            member.attempt,
            self._folder / f"trace-{len(self._attempts)}.json" if self._folder else None,
        )
        self._attempts.append(member.attempt)
        member.state = State.LOADING
        member.tell("start", setup, self._model)

    def _in_time(self, error: ResnetPipeError) -> ResnetPipeError:
        """Return an error as it is to be raised: once a run has begun, there may be results."""
        late = self._begun is not None and isinstance(error, UsageError)
        return RunError(error.problem, error.remedy) if late else error

    def _commit(self, member: Member, record: Record) -> None:
        chunk = member.given.pop(record.chunk)
        names = {file.name for file in record.files}
        names -= {file.name for entry in chunk.kept for file in entry.files}
        self._prepared.ledger.store.take_over(record_name(chunk.id), member.attempt, names)
        self._commits.commit(chunk, record)
        self._left -= 1
        member.tell("commit_done", chunk.id)

    def _end(self, member: Member, ended: Ended) -> None:
        """Take the last words of an actor; what has ended it may end the run."""
        self._efforts.append((member.node, ended.effort))
        if ended.seen is not None:
            self._executor.guard.call("history", self._executor.history.add, ended.seen)
        self._crew.end(member)
        error = ended.error
        if isinstance(error, ResnetPipeError):
            error.problem = f"node {member.node}: {error.problem}"
            raise self._in_time(error)
        if isinstance(error, OSError):
            raise error
        if error is not None or (member.given and not self._stopping):
            self._lose(member, f"{type(error).__name__}: {error}")

    def _lose(self, member: Member, reason: str) -> None:
        """Go on without an actor: all its chunks are run again, from their start."""
        if self._begun is None and not self._crew.members:
            raise RunError(
                f"no worker on the cluster can start: {reason}",
                "see `ray status` and the logs of Ray on the nodes; each of them needs resnet-pipe",
            )
        self._telling.lost(member, reason)
        chunks = [*member.given.values()]
        member.given.clear()
        for chunk in chunks:
            self._deaths[chunk.id] += 1
            if self._deaths[chunk.id] >= MAX_DEATHS:
                raise RunError(
                    f"{MAX_DEATHS} workers were lost with chunk {chunk.id} ({_sources(chunk)}): {reason}",
                    "look at these sources, and at the memory of the nodes; the same command continues",
                )
            self._commits.run_again(chunk.id)
        self._again.extend(chunks)

    def _finish(self) -> None:
        """Let the actors say what they have needed."""
        for member in [*self._crew.members]:
            if member.state is State.READY:
                member.tell("finish")
            else:
                self._crew.end(member)
        deadline = time.monotonic() + _LAST_WORDS_S
        while self._crew.members and time.monotonic() < deadline:
            for member, said in self._crew.hear():
                self._on(member, said)

    def _progress(self) -> None:
        if self._begun is None:
            return
        sources, items = self._crew.seen()
        executor = self._executor
        executor.effort.items = items
        self._events.progress(sources, items, self._commits.failures)
        executor.guard.call("history", executor.history.tick, items, 0, 0)


def _sources(chunk: Chunk) -> str:
    """Return which sources are in a chunk, in words."""
    keys = [source.key for source in chunk.sources]
    return f"{keys[0]} to {keys[-1]}" if len(keys) > 1 else "".join(keys)
