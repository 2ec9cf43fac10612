"""Who writes to a bucket now: a note that a run renews as long as it lives.

It spares people two runs at once, and decides nothing: whether a run is alive is guessed, by watching whether
its note changes. What two runs would do to each other is settled by `claims`, and by conditions on records.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from threading import Event, Thread

from resnet_pipe.errors import LockedError
from resnet_pipe.store.lock import are_neighbours
from resnet_pipe.store.objects import ConditionError, Objects
from resnet_pipe.store.store import HOME

BEAT_S = 4.0
"""A note is renewed this often."""
WATCH_S = 15.0
"""A note that does not change for so long is of a run that is dead."""
NOTES = f"{HOME}/lock"
"""How the names of notes begin."""


@contextmanager
def leased(objects: Objects, tag: str) -> Iterator[None]:
    """Note that a run writes to an output while a block runs; the tag is that of its division, or empty.

    Where the note of another run is there that is not a neighbour, it is watched for a while.

    Raises:
        LockedError: it is renewed.
    """
    _watch(objects, tag)
    name, note = _name(tag), _Note(objects, tag)
    note.write()
    beating = Thread(target=note.renew, name="lease", daemon=True)
    beating.start()
    try:
        yield
    finally:
        note.ended.set()
        beating.join()
        with suppress(OSError):  # it will be watched in vain
            if note.is_own():
                objects.delete([name])


class _Note:
    def __init__(self, objects: Objects, tag: str) -> None:
        self._objects, self._name = objects, _name(tag)
        self._content = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started_at": datetime.now(timezone.utc).isoformat("T", "seconds"),
        }
        self._beats = 0
        self._text = b""
        self.ended = Event()

    def write(self) -> None:
        self._beats += 1
        self._text = json.dumps({**self._content, "beats": self._beats}).encode()
        self._objects.put(self._name, self._text)

    def is_own(self) -> bool:
        """Tell whether the note is this one, and not that of a run that took this one for dead."""
        with suppress(FileNotFoundError):
            return self._objects.read(self._name) == self._text
        return False

    def renew(self) -> None:
        while not self.ended.wait(BEAT_S):
            with suppress(OSError, ConditionError):  # the next one may get through
                if not self.is_own():
                    return
                self.write()


def _watch(objects: Objects, tag: str) -> None:
    """Return when all notes of runs that exclude this one have gone, or have not changed for a while."""
    before = _notes(objects, tag)
    end = time.monotonic() + WATCH_S
    while before and time.monotonic() < end:
        time.sleep(min(1.0, WATCH_S / 5))
        for name, text in _notes(objects, tag).items():
            if before.get(name, text) != text:
                raise LockedError(
                    f"another run writes to {objects.address}: {_holder(text)}",
                    "wait for it to end, or write to another address",
                )
        before = {name: text for name, text in before.items() if objects.look(name)}


def _notes(objects: Objects, tag: str) -> dict[str, bytes]:
    found = {}
    for note in objects.list_in(HOME):
        other = note.name.removeprefix(NOTES).removesuffix(".json").removeprefix("-")
        if note.name.startswith(NOTES) and not are_neighbours(other, tag):
            with suppress(FileNotFoundError):
                found[note.name] = objects.read(note.name)
    return found


def _name(tag: str) -> str:
    return f"{NOTES}{tag and '-'}{tag}.json"


def _holder(text: bytes) -> str:
    try:
        note = json.loads(text)
        return f"process {note['pid']} on {note['host']}, started at {note['started_at']}"
    except (ValueError, LookupError, TypeError):
        return "its note cannot be read"
