"""The store in a bucket, where nothing is renamed: the record, put where there was none, is the commit.

How a record is published, so that a crash at any instant, or another run, leaves the old state or the new one:

1. all its files are put below a name of this attempt, in `_resnet_pipe/staged/`;
2. the record is put where there is none, or in the place of the very one that it replaces. It names the
   attempt, the files, and their SHA-256. Of several runs, one succeeds;
3. each file is copied to its final name, and files of the old record that are in the new one no more go;
4. what was staged is removed.

After a crash, the next run repeats steps 3 and 4 for a record whose attempt is still staged, and removes what
is staged for no record. Until step 3 is over, the files of a record are those that are staged.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from resnet_pipe.errors import LockedError
from resnet_pipe.store import conditions
from resnet_pipe.store.claims import CANCELLED, Claims
from resnet_pipe.store.digest import file_sha256
from resnet_pipe.store.lease import leased
from resnet_pipe.store.lock import output_lock, report_lock
from resnet_pipe.store.names import key_of, key_of_object, object_of, path_of
from resnet_pipe.store.objects import ConditionError, Objects, StoredObject
from resnet_pipe.store.store import HOME, Change, StoredFile

_T = TypeVar("_T")
_STAGED = f"{HOME}/staged"
_WHOLE = "whole"
"""In the folders of what is not final: of a run that has the output for itself."""
_REQUESTS = 16
"""So many at once: each waits for the server most of its time."""


class Bucket:
    """The files below an address; see `Store`.

    A record that is removed is replaced by a cancelled one, so that none of its name comes again. What is not
    final is in a directory of this machine: if that is lost, a chunk in flight begins again.
    """

    def __init__(self, objects: Objects, scratch: Path, tag: str = "") -> None:
        self._objects = objects
        self.home = scratch / HOME
        self.tag = tag
        self.spool = self.home / "spool" / (tag or "whole")
        self._claims = Claims(objects, tag)
        self._tags: dict[str, str] = {}
        """Of the records that were read or put, what tells them from others of their name."""
        self._present: set[str] | None = None
        """The names of what is there, as far as is known; None if nothing is."""

    @property
    def root(self) -> Objects:
        """See `Store.root`."""
        return self._objects

    def where(self, name: str) -> str:
        """See `Store.where`: its address."""
        return f"{self._objects}/{object_of(name)}"

    def exists(self, folder: str) -> bool:
        """See `Store.exists`."""
        return next(self.list(folder), None) is not None

    def make(self, _folder: str, parents: bool) -> None:
        """See `Store.make`: of what is on this machine."""
        self.home.mkdir(parents=True, exist_ok=True)

    def clear(self, folder: str) -> None:
        """See `Store.clear`. Plans and cancelled records stay, see `claims`."""
        self._claims.close(set(self.used(folder)))
        found = [one.name for one in self._objects.list() if not one.name.startswith(f"{HOME}/plans/")]
        self.delete(map(key_of_object, found))
        shutil.rmtree(self.home.parent, ignore_errors=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """See `Store.held`: on this machine by a lock, and from others by a lease."""
        with output_lock(self.home, self.tag):
            conditions.require(self._objects)
            with leased(self._objects, self.tag):
                yield

    def neighbours_run(self) -> bool:
        """See `Store.neighbours_run`: on another machine, perhaps."""
        return self.tag != ""

    def alone(self) -> AbstractContextManager[None]:
        """See `Store.alone`: on this machine."""
        return report_lock(self.home)

    def list(self, folder: str) -> Iterator[StoredFile]:
        """See `Store.list`."""
        for found in self._objects.list_in(folder):
            if not _is_cancelled(found):
                yield StoredFile(key_of_object(found.name), found.size, found.tag)

    def look(self, name: str) -> StoredFile | None:
        """See `Store.look`."""
        found = self._objects.look(object_of(name))
        if found is None or _is_cancelled(found):
            return None
        return StoredFile(name, found.size, found.tag)

    def has(self, names: Sequence[str]) -> bool:
        """See `Store.has`. What is there is listed once; what is not in that list is asked for."""
        if self._present is None:
            self._present = {key_of_object(found.name) for found in self._objects.list()}
        missing = [name for name in names if name not in self._present]
        if None in _at_once(self.look, missing):
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

    def read_all(self, folder: str) -> Iterator[tuple[str, bytes]]:
        """See `Store.read_all`."""
        names = [file.name for file in self.list(folder)]
        for start in range(0, len(names), _REQUESTS):
            some = names[start : start + _REQUESTS]
            yield from zip(some, _at_once(self.read, some), strict=True)

    def gather(self, names: Iterable[str]) -> Path:
        """See `Store.gather`: they are copied to this machine."""
        folder = self.home / "gathered" / (self.tag or _WHOLE)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in names:
            path = path_of(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._objects.download(object_of(name), path)
        return folder

    def put(self, name: str, data: Iterable[bytes]) -> None:
        """See `Store.put`."""
        self._objects.put(object_of(name), b"".join(data))

    @contextmanager
    def put_after(self, name: str, data: Iterable[bytes]) -> Iterator[None]:
        """See `Store.put_after`.

        Raises:
            LockedError: another run has put something else there meanwhile.
        """
        text, key = b"".join(data), object_of(name)
        try:
            _, before = self._objects.read_tagged(key)
        except FileNotFoundError:
            before = ""
        yield
        try:
            if before:
                self._objects.replace(key, text, before)
            else:
                self._objects.create(key, text)
        except ConditionError:
            if self._objects.read(key) != text:
                raise self._overtaken() from None

    def keep(self, folder: Path) -> None:
        """See `Store.keep`."""
        below = folder.relative_to(self.home.parent)
        for path in sorted(folder.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                self._objects.put(f"{below}/{path.name}", path)

    def delete(self, names: Iterable[str]) -> None:
        """See `Store.delete`; a record is cancelled."""
        gone = []
        for name in names:
            if self._present is not None:
                self._present.discard(name)
            if _is_record(name):
                self._objects.put(object_of(name), CANCELLED)
            else:
                gone.append(object_of(name))
        self._objects.delete(gone)

    def used(self, folder: str) -> Iterator[str]:
        """See `Store.used`: also cancelled ones."""
        return (key_of_object(found.name) for found in self._objects.list_in(folder))

    def claim(self, records: Sequence[str]) -> None:
        """See `Store.claim`."""
        if records:
            self._claims.claim(records)

    def attempt(self) -> str:
        """See `Store.attempt`."""
        return uuid4().hex[:12]

    def stage(self, record: str) -> Path:
        """See `Store.stage`: on this machine."""
        staging = self._staging(record)
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        return staging

    def unstage(self, record: str) -> None:
        """See `Store.unstage`."""
        shutil.rmtree(self._staging(record))

    def publish(self, record: str, data: bytes, change: Change) -> None:
        """See `Store.publish`, and the four steps at the top of this file.

        Raises:
            LockedError: another run has published this record.
        """
        staging = self._staging(record)
        found = (Path(folder, name) for folder, _, names in os.walk(staging) for name in names)
        paths = {key_of(str(path.relative_to(staging))): path for path in found}
        folder = f"{_STAGED}/{_stem(record)}-{change.attempt}"
        before = dict(zip(paths, _at_once(self._final_tag, paths), strict=True))
        _at_once(lambda name: self._objects.put(f"{folder}/{object_of(name)}", paths[name]), paths)
        self._put_record(record, data)

        def put_in_place(name: str) -> None:
            try:
                self._objects.copy(f"{folder}/{object_of(name)}", object_of(name))
            except FileNotFoundError:  # a later run took this one for dead, and has removed what was staged
                self._put_again(name, paths[name], before[name])

        _at_once(put_in_place, paths)
        self.delete(change.obsolete)
        self._objects.delete(f"{folder}/{object_of(name)}" for name in paths)
        if self._present is not None:
            self._present.update(paths)
        shutil.rmtree(staging, ignore_errors=True)

    def _put_record(self, record: str, data: bytes) -> None:
        try:
            if tag := self._tags.get(record):
                self._tags[record] = self._objects.replace(object_of(record), data, tag)
            else:
                self._tags[record] = self._objects.create(object_of(record), data)
        except ConditionError:
            with suppress(FileNotFoundError):
                if self.read(record) == data:  # the answer had got lost
                    return
            raise self._overtaken() from None

    def _final_tag(self, name: str) -> str:
        """Return what tells the file of before from others; empty if there is none."""
        try:
            return self._objects.tag_of(object_of(name))
        except FileNotFoundError:
            return ""

    def _put_again(self, name: str, path: Path, before: str) -> None:
        """Put a file under its final name, unless something else than before has come there."""
        with suppress(ConditionError):
            if before:
                self._objects.replace(object_of(name), path.read_bytes(), before)
            else:
                self._objects.create(object_of(name), path.read_bytes())

    def place(self, record: str, names: Sequence[str], obsolete: Iterable[str]) -> None:
        """See `Store.place`."""
        staging = self._staging(record)
        _at_once(lambda name: self._objects.put(object_of(name), path_of(staging, name)), names)
        self.delete(obsolete)

    def adopt(self, folder: str, names: Iterable[str], obsolete: Iterable[str] = ()) -> None:
        """See `Store.adopt`."""

        def move(name: str) -> None:
            source = f"{folder}/{name}"
            if self.look(source) is not None:
                self._objects.copy(object_of(source), object_of(name))
                self.delete([source])

        _at_once(move, names)
        self._present = None
        self.delete(obsolete)

    def recover(self, folder: str, read: Callable[[str], Change | None], _puts: Iterable[str]) -> None:
        """See `Store.recover`. Nothing is done once a later run has begun: it has done that."""
        self._present = None
        for left in ("staging", "gathered"):
            shutil.rmtree(self.home / left / (self.tag or _WHOLE), ignore_errors=True)
        if not self._claims.close(set(self.used(folder))):
            return
        staged: dict[str, list[str]] = {}
        for found in self._objects.list(_STAGED):
            attempt, _, name = found.name.removeprefix(f"{_STAGED}/").partition("/")
            staged.setdefault(attempt, []).append(name)
        if not staged:
            return
        used, live = set(self.used(folder)), {file.name for file in self.list(folder)}
        for stem_and_attempt, names in staged.items():
            stem, _, attempt = stem_and_attempt.rpartition("-")
            record = f"{folder}/{stem}.json"
            if record in used:  # else it is of a neighbour, who has not put it yet
                change = read(record) if record in live else None
                self._settle(f"{_STAGED}/{stem_and_attempt}", names, change, attempt)

    def _settle(self, folder: str, names: Sequence[str], change: Change | None, attempt: str) -> None:
        """Put in place what is staged in a folder if it is the attempt of its record; remove it."""

        def put_in_place(name: str) -> None:
            with suppress(FileNotFoundError):  # a neighbour has just done it
                self._objects.copy(f"{folder}/{name}", name)

        if change is not None and change.attempt == attempt:
            _at_once(put_in_place, names)
            self.delete(change.obsolete)
        self._objects.delete(f"{folder}/{name}" for name in names)

    def _overtaken(self) -> LockedError:
        return LockedError(
            f"another run has begun to write to {self._objects} and goes on from here; what is committed stays",
            "let one run at a time write to an address",
        )

    def _staging(self, record: str) -> Path:
        return self.home / "staging" / (self.tag or _WHOLE) / _stem(record)


def _at_once(request: Callable[[str], _T], names: Iterable[str]) -> list[_T]:
    """Make a request for each name, some at a time; the first error is raised when all have ended."""
    with ThreadPoolExecutor(_REQUESTS) as pool:
        return list(pool.map(request, names))


def _stem(record: str) -> str:
    return record.rpartition("/")[2].removesuffix(".json")


def _is_record(name: str) -> bool:
    """Tell whether a name, below the root or below another one, is of a record."""
    return f"/{HOME}/ledger/" in f"/{name}"


def _is_cancelled(found: StoredObject) -> bool:
    """Tell whether an object is a cancelled record: a true one is far longer."""
    return found.size == len(CANCELLED) and _is_record(found.name)
