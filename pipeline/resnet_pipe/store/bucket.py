"""The store in a bucket, where nothing is renamed: the record, put where there was none, is the commit.

How a record is published, so that a crash at any instant, or another run, leaves the old or the new state:

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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from resnet_pipe.errors import LockedError
from resnet_pipe.store import conditions, large_objects
from resnet_pipe.store.bucket_files import BucketFiles, at_once, is_cancelled, is_record
from resnet_pipe.store.claims import PLANS, Claims
from resnet_pipe.store.lease import NOTES, leased
from resnet_pipe.store.lock import output_lock, report_lock
from resnet_pipe.store.names import key_of, key_of_object, object_of, path_of
from resnet_pipe.store.objects import ConditionError, Objects
from resnet_pipe.store.store import HOME, WHOLE, Change

_STAGED = f"{HOME}/staged"


class Bucket(BucketFiles):
    """The store below an address; see `Store`.

    What is not final is in a directory of this machine: if that is lost, a chunk in flight begins again.
    """

    def __init__(self, objects: Objects, scratch: Path, tag: str = "") -> None:
        super().__init__(objects, scratch, tag)
        self.spool = self.home / "spool" / (tag or WHOLE)
        self._claims = Claims(self._patient, tag)

    def exists(self, folder: str) -> bool:
        """See `Store.exists`."""
        return next(self.list(folder), None) is not None

    def make(self, _folder: str, parents: bool) -> None:
        """See `Store.make`: of what is on this machine."""
        self.home.mkdir(parents=True, exist_ok=True)

    def clear(self, folder: str) -> None:
        """See `Store.clear`. Plans and cancelled records stay, see `claims`."""
        self._claims.close(set(self.used(folder)))
        found = [one.name for one in self._objects.list() if not one.name.startswith(PLANS)]
        self.delete(map(key_of_object, found))
        shutil.rmtree(self.home.parent, ignore_errors=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """See `Store.held`: on this machine by a lock, and from others by a lease."""
        with ExitStack() as stack:
            try:
                stack.enter_context(output_lock(self.home, self.tag))
            except LockedError as error:
                error.problem = error.problem.replace(str(self.home.parent), str(self._objects))
                raise
            stack.enter_context(leased(self._objects, self.tag))
            conditions.require(self._objects, self.tag or WHOLE)
            yield

    def neighbours_run(self) -> bool:
        """See `Store.neighbours_run`: on another machine, perhaps."""
        return self.tag != ""

    def alone(self) -> AbstractContextManager[None]:
        """See `Store.alone`: on this machine."""
        return report_lock(self.home)

    def claim(self, records: Sequence[str]) -> None:
        """See `Store.claim`."""
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
        before = dict(zip(paths, at_once(self.mark, paths), strict=True))
        at_once(lambda name: self._patient.put(f"{folder}/{object_of(name)}", paths[name]), paths)
        self._put_record(record, data)

        def put_in_place(name: str) -> None:
            try:
                self._patient.copy(f"{folder}/{object_of(name)}", object_of(name), _size(paths[name]))
            except FileNotFoundError:  # a later run took this one for dead, and has removed what was staged
                self._put_again(name, paths[name], before[name])

        at_once(put_in_place, paths)
        self.delete(change.obsolete)
        self._patient.delete(f"{folder}/{object_of(name)}" for name in paths)
        if self._present is not None:
            self._present.update(paths)
        shutil.rmtree(staging, ignore_errors=True)

    def _put_record(self, record: str, data: bytes) -> None:
        try:
            if tag := self._tags.get(record):
                self._tags[record] = self._patient.replace(object_of(record), data, tag)
            else:
                self._tags[record] = self._patient.create(object_of(record), data)
        except ConditionError:
            with suppress(FileNotFoundError):
                if self.read(record) == data:  # the answer had got lost
                    return
            raise self._overtaken() from None

    def _put_again(self, name: str, path: Path, before: str) -> None:
        """Put a file under its final name, unless something else than before has come there."""
        if _size(path) <= large_objects.LARGEST:
            self.exchange(name, [path.read_bytes()], before)
        elif self.mark(name) == before:  # no condition can be put on the request itself
            self._patient.put(object_of(name), path)

    def place(self, record: str, names: Sequence[str], obsolete: Iterable[str]) -> None:
        """See `Store.place`."""
        staging = self._staging(record)
        at_once(lambda name: self._patient.put(object_of(name), path_of(staging, name)), names)
        self.delete(obsolete)

    def adopt(self, folder: str, names: Iterable[str], obsolete: Iterable[str] = ()) -> None:
        """See `Store.adopt`."""

        def move(name: str) -> None:
            source = f"{folder}/{name}"
            with suppress(FileNotFoundError):  # it has been moved, perhaps just now by another division
                if is_record(name):
                    mark = self.mark(name)  # what another one commits after it has moved it stays
                    self.exchange(name, [self.read(source)], mark)
                    self.delete([source])
                elif found := self.look(source):
                    self._patient.copy(object_of(source), object_of(name), found.size)
                    self.delete([source])

        at_once(move, names)
        self._present = None
        self.delete(obsolete)

    def recover(self, folder: str, read: Callable[[str], Change | None], _puts: Iterable[str]) -> None:
        """See `Store.recover`. Nothing is done once a later run has begun: it has done that."""
        self._present = None
        for left in ("staging", "gathered"):
            shutil.rmtree(self.home / left / (self.tag or WHOLE), ignore_errors=True)
        if not self._claims.close(set(self.used(folder))):
            return
        staged: dict[str, dict[str, int]] = {}
        for found in self._objects.list(_STAGED):
            attempt, _, name = found.name.removeprefix(f"{_STAGED}/").partition("/")
            staged.setdefault(attempt, {})[name] = found.size
        if not staged:
            return
        used, live = set(self.used(folder)), {file.name for file in self.list(folder)}
        for stem_and_attempt, sizes in staged.items():
            stem, _, attempt = stem_and_attempt.rpartition("-")
            record = f"{folder}/{stem}.json"
            if record in used:  # else it is of a neighbour, who has not put it yet
                change = read(record) if record in live else None
                self._settle(f"{_STAGED}/{stem_and_attempt}", sizes, change, attempt)

    def places(self, names: Iterable[str], attempts: Mapping[str, str]) -> list[str]:
        """Return where shards are that have been committed, by the attempts of their chunks.

        They are paths of `Objects.filesystem`: in their place, or still staged.
        """
        staged = {found.name for found in self._objects.list(_STAGED)}
        folders = [f"{_STAGED}/{chunk}-{attempt}" for chunk, attempt in attempts.items()]
        places = {place.rpartition("/")[2]: place for place in staged if place.rpartition("/")[0] in folders}
        root = self._objects.address.partition("://")[2]
        return [f"{root}/{places.get(object_of(name), object_of(name))}" for name in names]

    def copy(self, folder: Path, below: tuple[str, ...]) -> None:
        """Copy the files whose names begin with one of `below` to a directory of this machine."""
        found = (one for one in self._objects.list() if not is_cancelled(one))
        names = [one.name for one in found if not one.name.startswith((_STAGED, PLANS, NOTES))]
        self._download({name: name for name in names if name.startswith(below)}, folder)

    def copy_staged(self, folder: Path, attempts: Mapping[str, str]) -> None:
        """Copy the files that have been committed, by the attempts of chunks, and are not in place yet."""
        staged = (one.name.removeprefix(f"{_STAGED}/").partition("/") for one in self._objects.list(_STAGED))
        committed = {f"{chunk}-{attempt}" for chunk, attempt in attempts.items()}
        names = {f"{_STAGED}/{group}/{name}": name for group, _, name in staged if group in committed}
        self._download(names, folder)

    def _download(self, names: Mapping[str, str], folder: Path) -> None:
        def download(name: str) -> None:
            path = path_of(folder, key_of_object(names[name]))
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # a run has put it in place, or removed it, meanwhile
                self._patient.download(name, path)

        at_once(download, names)

    def _settle(self, folder: str, sizes: Mapping[str, int], change: Change | None, attempt: str) -> None:
        """Put in place what is staged in a folder if it is the attempt of its record; remove it.

        Of each file, the number of bytes is given.
        """

        def put_in_place(name: str) -> None:
            with suppress(FileNotFoundError):  # a neighbour has just done it
                self._patient.copy(f"{folder}/{name}", name, sizes[name])

        if change is not None and change.attempt == attempt:
            at_once(put_in_place, sizes)
            self.delete(change.obsolete)
        self._patient.delete(f"{folder}/{name}" for name in sizes)

    def _staging(self, record: str) -> Path:
        return self.home / "staging" / (self.tag or WHOLE) / _stem(record)


def _stem(record: str) -> str:
    return record.rpartition("/")[2].removesuffix(".json")


def _size(path: Path) -> int:
    return path.stat().st_size
