"""Which run may create which records in a bucket: a chain of plans, each put where there was none.

A plan names the records that its run may create, and its division. A run that begins first makes sure that
no run before it, but for those of the other divisions, creates any more: where a record of theirs is missing,
it puts a cancelled one. Then it reads the records, decides what is to be done, and puts the next plan. If
another one has got that number meanwhile, what it has decided may be done by two: it is refused. So no record
is ever created by two runs, and no source is in two, whatever the clocks say, and however late a request of a
run that was thought to be dead arrives. For the same reason plans and cancelled records stay.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from resnet_pipe.errors import LockedError, RunError
from resnet_pipe.store.lock import are_neighbours
from resnet_pipe.store.objects import ConditionError, Objects
from resnet_pipe.store.store import HOME

CANCELLED = b'{"cancelled": true}'
"""In the place of a record: there is none of this name, and there will be none."""
PLANS = f"{HOME}/plans"
"""The folder of the chain."""
_SCHEMA_VERSION = 1


@dataclass(frozen=True)
class _Plan:
    """A link of the chain.

    Attributes:
        number: its place, from 1; 0 for none.
        owner: tells one run from all others.
        tag: of its run's division; empty for a whole job.
        claims: the records that runs which may go on may create, by tag: its own, and of other divisions.
    """

    number: int
    owner: str
    tag: str
    claims: Mapping[str, Sequence[str]]


class Claims:
    """The chain of one output, as one run sees it."""

    def __init__(self, objects: Objects, tag: str) -> None:
        self._objects = objects
        self._tag = tag
        self._owner = uuid4().hex
        self._closed = 0
        """The last plan when this run made sure that those before it create nothing any more."""
        self._own = 0
        """The number of this run's own plan, once it has one."""

    def close(self, there: Collection[str]) -> bool:
        """Make sure that earlier runs create no more records than those that are there, by name.

        Returns False, and does nothing, if a later run has begun since this one.
        """
        last = self._last()
        later = self._since(self._own, last) if self._own else []
        if any(not are_neighbours(plan.tag, self._tag) for plan in later):
            return False
        for tag, names in last.claims.items():
            if not are_neighbours(tag, self._tag):
                for name in names:
                    if name not in there:
                        with suppress(ConditionError):
                            self._objects.create(name, CANCELLED)
        self._closed = last.number
        return True

    def claim(self, records: Sequence[str]) -> None:
        """Put the plan of this run.

        Raises:
            LockedError: another run has begun since `close`, and may do the same.
        """
        while True:
            last = self._last()
            for plan in self._since(self._closed, last):
                if plan.owner != self._owner and not are_neighbours(plan.tag, self._tag):
                    raise LockedError(
                        f"another run has begun to write to {self._objects.address}", "wait for it to end"
                    )
            if last.owner == self._owner:  # the answer to the request that put it had got lost
                self._own = self._closed = last.number
                return
            claims = {tag: names for tag, names in last.claims.items() if are_neighbours(tag, self._tag)}
            text = {
                "schema_version": _SCHEMA_VERSION,
                "owner": self._owner,
                "tag": self._tag,
                "claims": {**claims, self._tag: list(records)},
            }
            try:
                self._objects.create(_name(last.number + 1), json.dumps(text).encode())
            except ConditionError:
                continue  # by another one, or by this one: it will be seen
            self._own = self._closed = last.number + 1
            return

    def _last(self) -> _Plan:
        names = [found.name for found in self._objects.list(PLANS)]
        return self._read(max(names)) if names else _Plan(0, "", "", {})

    def _since(self, number: int, last: _Plan) -> list[_Plan]:
        """Return the plans after the one of a number, up to the last."""
        between = (self._read(_name(other)) for other in range(number + 1, last.number))
        return [*between, last] if last.number > number else []

    def _read(self, name: str) -> _Plan:
        try:
            data: dict[str, Any] = json.loads(self._objects.read(name))
            if data["schema_version"] != _SCHEMA_VERSION:
                raise ValueError(f"schema version {data['schema_version']}; this version supports 1")
            number = int(name.rpartition("/")[2].removesuffix(".json"))
            return _Plan(number, data["owner"], data["tag"], data["claims"])
        except (ValueError, LookupError, TypeError) as error:
            raise RunError(
                f"{self._objects.address}/{name} cannot be read: {error}",
                "use the version of resnet-pipe that wrote it, or another writer.path; nothing was changed",
            ) from None


def _name(number: int) -> str:
    return f"{PLANS}/{number:08}.json"
