"""The files in a bucket: their names, what is there, and what is in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from resnet_pipe.errors import LockedError
from resnet_pipe.store.claims import CANCELLED
from resnet_pipe.store.digest import file_sha256
from resnet_pipe.store.names import key_of_object, object_of, path_of
from resnet_pipe.store.objects import ConditionError, Objects, StoredObject
from resnet_pipe.store.store import HOME, WHOLE, Store, StoredFile

_T = TypeVar("_T")
PATIENCE_S = 120.0
"""A server may be away for so long when what a run has made is to be put: more than when it is read."""
_REQUESTS = 16
"""So many at once: each waits for the server most of its time."""


class BucketFiles(Store):
    """What of a `Store` is about files that are final.

    A record that is removed is replaced by a cancelled one, so that none of its name comes again: see
    `claims`.
    """

    def __init__(self, objects: Objects, scratch: Path, tag: str) -> None:
        self.root = self._objects = objects
        self._patient = replace(objects, patience_s=PATIENCE_S)
        self.home = scratch / HOME
        self.tag = tag
        self._local = self.home
        """What is on this machine alone is below it."""
        self._tags: dict[str, str] = {}
        """Of the records that were read or put, what tells them from others of their name."""
        self._present: set[str] | None = None
        """The names of what is there, as far as is known; None if nothing is."""

    def where(self, name: str) -> str:
        """See `Store.where`: its address."""
        return f"{self._objects}/{object_of(name)}"

    def list(self, folder: str) -> Iterator[StoredFile]:
        """See `Store.list`."""
        for found in self._objects.list_in(folder):
            if not is_cancelled(found):
                yield StoredFile(key_of_object(found.name), found.size, found.tag)

    def look(self, name: str) -> StoredFile | None:
        """See `Store.look`."""
        found = self._objects.look(object_of(name))
        if found is None or is_cancelled(found):
            return None
        return StoredFile(name, found.size, found.tag)

    def has(self, names: Sequence[str]) -> bool:
        """See `Store.has`. What is there is listed once; what is not in that list is asked for."""
        if self._present is None:
            self._present = {key_of_object(found.name) for found in self._objects.list()}
        missing = [name for name in names if name not in self._present]
        if None in at_once(self.look, missing):
            return False
        self._present.update(missing)
        return True

    def read(self, name: str) -> bytes:
        """See `Store.read`."""
        data, self._tags[name] = self._objects.read_tagged(object_of(name))
        if data == CANCELLED:
            raise FileNotFoundError(2, "it was cancelled", self.where(name))
        return data

    def sha256(self, name: str) -> str | None:
        """See `Store.sha256`."""
        return file_sha256(path_of(self.gather([name]), name)) if self.look(name) else None

    def read_all(self, names: Sequence[str]) -> Iterator[bytes]:
        """See `Store.read_all`."""
        for start in range(0, len(names), _REQUESTS):
            yield from at_once(self.read, names[start : start + _REQUESTS])

    def gather(self, names: Iterable[str]) -> Path:
        """See `Store.gather`: they are copied to this machine."""
        folder = self._local / "gathered" / (self.tag or WHOLE)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in names:
            self._fetch(object_of(name), path_of(folder, name))
        return folder

    def _fetch(self, name: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._patient.download(name, path)

    def put(self, name: str, data: Iterable[bytes]) -> None:
        """See `Store.put`."""
        self._patient.put(object_of(name), b"".join(data))

    @contextmanager
    def put_after(self, name: str, data: Iterable[bytes]) -> Iterator[None]:
        """See `Store.put_after`.

        Raises:
            LockedError: another run has put something else there meanwhile.
        """
        mark = self.mark(name)
        yield
        if self.exchange(name, data, mark) is None:
            raise self._overtaken()

    def mark(self, name: str) -> str:
        """See `Store.mark`."""
        try:
            return self._patient.tag_of(object_of(name))
        except FileNotFoundError:
            return ""

    def exchange(self, name: str, data: Iterable[bytes], mark: str) -> str | None:
        """See `Store.exchange`."""
        key, text = object_of(name), b"".join(data)
        try:
            return self._patient.replace(key, text, mark) if mark else self._patient.create(key, text)
        except ConditionError:
            with suppress(FileNotFoundError):
                found, new = self._patient.read_tagged(key)
                if found == text:  # the answer had got lost, or another one has made the same
                    return new
            return None

    def keep(self, folder: Path, count: int) -> None:
        """See `Store.keep`."""
        below, end = folder.parent.relative_to(self.home.parent), folder.name.partition("Z")[2]
        for path in sorted(folder.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                self._patient.put(f"{below}/{folder.name}/{path.name}", path)
        kept = [found.name for found in self._objects.list(str(below))]
        places = {name: name.removeprefix(f"{below}/").partition("/")[0] for name in kept}
        # This one may look old: names are times by the clocks of several machines.
        others = {place for place in places.values() if place.partition("Z")[2] == end} - {folder.name}
        old = sorted(others)[: 1 - count]
        self._patient.delete(name for name, place in places.items() if place in old)

    def delete(self, names: Iterable[str]) -> None:
        """See `Store.delete`; a record is cancelled."""
        gone = []
        for name in names:
            if self._present is not None:
                self._present.discard(name)
            if is_record(name):
                self._patient.put(object_of(name), CANCELLED)
            else:
                gone.append(object_of(name))
        self._patient.delete(gone)

    def used(self, folder: str) -> Iterator[str]:
        """See `Store.used`: also cancelled ones."""
        return (key_of_object(found.name) for found in self._objects.list_in(folder))

    def _overtaken(self) -> LockedError:
        return LockedError(
            f"another run has begun to write to {self._objects} meanwhile; what is committed stays",
            "let one run at a time write to an address",
        )


def at_once(request: Callable[[str], _T], names: Iterable[str]) -> list[_T]:
    """Make a request for each name, some at a time; the first error is raised when all have ended."""
    with ThreadPoolExecutor(_REQUESTS) as pool:
        return list(pool.map(request, names))


def is_record(name: str) -> bool:
    """Tell whether a name, below the root or below another one, is of a record."""
    return f"/{HOME}/ledger/" in f"/{name}"


def is_cancelled(found: StoredObject) -> bool:
    """Tell whether an object is a cancelled record: a true one is far longer."""
    return found.size == len(CANCELLED) and is_record(found.name)
