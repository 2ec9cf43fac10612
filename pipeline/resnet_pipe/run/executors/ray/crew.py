"""The actors of a run: made, watched, and replaced."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from resnet_pipe.run.executors.ray.cluster import Room, Slot, make_actor
from resnet_pipe.run.executors.ray.messages import Answer, Message, Question
from resnet_pipe.run.plan import Chunk

SILENCE_S = 60.0
"""An actor that has said nothing for so long is given up, be it alive or not: it should every second."""
_AGAIN_S = 10.0
"""How long after an actor was lost before it worked another one is made in its place."""
_ROOM_EVERY_S = 2.0
_WAIT_S = 0.2
_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_CAUSE = re.compile(r"[\w.]+(Error|Exception|Exit): ")


class State(Enum):
    """How far an actor has come."""

    ASKED = "it is not there, or has not answered"
    LOADING = "it starts its workers and loads the engine"
    READY = "it runs chunks"


@dataclass(eq=False)
class Member:
    """One actor as the driver sees it.

    Attributes:
        attempt: the name of its staging.
        awaited: Ray's reference to what it will say next.
        heard: when it has said something, time.monotonic().
        given: chunks that it has not finished, in order.
        calls: references to what it has been told, as long as nobody knows that it was.
        sources: that its engine has seen; of one that is read in spans, the share.
        items: that its engine has seen.
    """

    slot: Slot
    handle: Any
    awaited: Any
    attempt: str = field(default_factory=lambda: f"ray{uuid.uuid4().hex[:12]}")
    node: str = ""
    state: State = State.ASKED
    heard: float = field(default_factory=time.monotonic)
    given: dict[str, Chunk] = field(default_factory=dict)
    calls: list[Any] = field(default_factory=list)
    sources: int = 0
    items: int = 0

    def tell(self, method: str, *arguments: object) -> None:
        """Call a method of the actor that returns nothing; does not wait for it."""
        self.calls.append(getattr(self.handle, method).remote(*arguments))


@dataclass(frozen=True)
class Lost:
    """An actor is lost, or is given up, and why."""

    reason: str


class Crew:
    """All actors of a run that are not lost: not more than the job wants, and the cluster has room for.

    Attributes:
        members: the actors.
        known: when there was one that has answered, time.monotonic(), or when there was none yet.
        leaving: nodes that get no chunks any more.
        lost: why the last actor that is lost is.
    """

    def __init__(self, room: Room, question: Question) -> None:
        self._room = room
        self._question = question
        self.members: list[Member] = []
        self.known = time.monotonic()
        self.lost = "none has started yet"
        self._looked = -_ROOM_EVERY_S
        self._not_before: dict[Slot, float] = {}
        self.leaving: set[str] = set()
        self._past_sources = self._past_items = 0
        """What actors have seen that are no more."""

    def fill(self) -> None:
        """Have actors made where there is room; look for it every few seconds."""
        now = time.monotonic()
        if now - self._looked < _ROOM_EVERY_S:
            return
        self._looked = now
        slots = self._room.slots()
        there = {slot.node for slot in slots}
        self.leaving = {member.slot.node for member in self.members} - there
        taken = {member.slot for member in self.members}
        for slot in slots:
            if len(self.members) >= self._room.most:
                break
            if slot not in taken and self._not_before.get(slot, 0.0) <= now:
                handle = make_actor(slot)
                self.members.append(Member(slot, handle, handle.answer.remote(self._question)))

    @property
    def ready(self) -> list[Member]:
        """Return those that run chunks, the ones with the fewest first."""
        found = [member for member in self.members if member.state is State.READY]
        return sorted(found, key=lambda member: len(member.given))

    def seen(self) -> tuple[int, int]:
        """Return how many sources and items have been seen; sources that are seen again count once."""
        sources = self._past_sources + sum(member.sources for member in self.members)
        return sources, self._past_items + sum(member.items for member in self.members)

    def hear(self) -> Iterator[tuple[Member, Answer | Message | Lost]]:
        """Wait a moment, and yield what the actors have said; those that are lost are gone then."""
        import ray

        awaited = {one: member for member in self.members for one in (member.awaited, *member.calls)}
        if not awaited:
            time.sleep(_WAIT_S)
            return
        ray.wait([*awaited], num_returns=1, timeout=_WAIT_S)
        said, _ = ray.wait([*awaited], num_returns=len(awaited), timeout=0)
        listened = time.monotonic()  # later, it is the caller that may have taken long
        for reference in said:
            member = awaited[reference]
            if member not in self.members:
                continue  # it has been lost meanwhile, or has ended
            try:
                answer = ray.get(reference)
            except ray.exceptions.RayError as error:
                yield member, self._lose(member, _reason(error))
                continue
            member.heard = time.monotonic()
            if reference in member.calls:
                member.calls.remove(reference)
                continue
            member.awaited = member.handle.take.remote()
            for message in (answer,) if isinstance(answer, Answer) else answer:
                yield member, message
        yield from self._silent(listened)

    def _silent(self, now: float) -> Iterator[tuple[Member, Lost]]:
        """Yield those that have said nothing for too long until now: they are given up."""
        for member in [*self.members]:
            if member.state in (State.LOADING, State.READY):
                self.known = now
                if now - member.heard > SILENCE_S:
                    yield member, self._lose(member, f"it has said nothing for {SILENCE_S:.0f} s")

    def _lose(self, member: Member, reason: str) -> Lost:
        self.end(member)
        self._looked = -_ROOM_EVERY_S
        if member.state is not State.READY:  # whatever it was, it may be the same again
            self._not_before[member.slot] = time.monotonic() + _AGAIN_S
        self.lost = reason
        return Lost(reason)

    def end(self, member: Member) -> None:
        """End an actor, whatever it is doing."""
        import ray

        self.members.remove(member)
        self._past_items += member.items
        self._past_sources += max(0, member.sources - sum(len(one.sources) for one in member.given.values()))
        ray.kill(member.handle, no_restart=True)


def _reason(error: Exception) -> str:
    """Return the line of an error of Ray that says what happened: the cause, if there was an exception."""
    lines = [line.strip() for line in _COLOUR.sub("", str(error)).strip().splitlines()]
    causes = [line for line in lines if _CAUSE.match(line)]
    return causes[-1] if causes else lines[0]
