"""The store in a bucket, where nothing is renamed: the record, put where there was none, is the commit.

How a record is published, so that a crash at any instant, or another run, leaves the old or the new state:

1. all its files are put below a name of this attempt, in `_resnet_pipe/staged/`;
2. the record is put where there is none, or in the place of the very one that it replaces. It names the
   attempt, the files, and their SHA-256. Of several runs, one succeeds;
3. each file is copied to its final name, and files of the old record that are in the new one no more go;
4. what was staged is removed.

After a crash, the next run repeats steps 3 and 4 for a record whose attempt is still staged, and removes what
is staged for no record; but not what another division of the job has staged, as the end of the attempt's
name says: it may be about to put the record. Until step 3 is over, the files of a record are those that are
staged.

Where attempts on other machines stage, step 1 is theirs, and all others are the run's.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from resnet_pipe.errors import HomeError, LockedError
from resnet_pipe.store import conditions, large_objects
from resnet_pipe.store.bucket_files import at_once, is_cancelled, is_record
from resnet_pipe.store.bucket_staging import STAGED, BucketStaging, staged
from resnet_pipe.store.claims import PLANS, Claims
from resnet_pipe.store.lease import NOTES, leased
from resnet_pipe.store.lock import are_neighbours, output_lock, report_lock
from resnet_pipe.store.names import key_of_object, object_of, path_of
from resnet_pipe.store.objects import ConditionError, Objects
from resnet_pipe.store.store import WHOLE, Change


class Bucket(BucketStaging):
    """The store below an address; see `Store`.

    What is not final is in a directory of this machine: if that is lost, a chunk in flight begins again.
    """

    def __init__(self, objects: Objects, scratch: Path, tag: str = "", attempt: str = "") -> None:
        super().__init__(objects, scratch, tag, attempt)
        self.spool = self._local / "spool" / (tag or WHOLE)
        self._claims = Claims(self._patient, tag)

    def exists(self, folder: str) -> bool:
        """See `Store.exists`."""
        return next(self.list(folder), None) is not None

    def make(self, _folder: str, parents: bool) -> None:
        """See `Store.make`: of what is on this machine.

        Raises:
            HomeError: it cannot be made.
        """
        try:
            self.home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            text = f"{self.home} cannot be made: {error.strerror}; results go to a bucket from there"
            raise HomeError(text) from None

    def clear(self, folder: str) -> None:
        """See `Store.clear`. Plans and cancelled records stay, see `claims`."""
        self._claims.close(set(self.used(folder)))
        found = [one.name for one in self._objects.list() if not one.name.startswith(PLANS)]
        self.delete(map(key_of_object, found))
        for left in ("staging", "gathered", "spool"):  # and not what attempts on this machine use
            shutil.rmtree(self.home / left, ignore_errors=True)

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

    def publish(self, record: str, data: bytes, change: Change) -> None:
        """See `Store.publish`, and the four steps at the top of this file.

        Raises:
            LockedError: another run has published this record.
        """
        folder, paths = staged(record, change.attempt), self._paths(record)
        names, before = [*change.files], dict[str, str]()
        if record not in self._taken:
            names, before = [*paths], dict(zip(paths, at_once(self.mark, paths), strict=True))
            self._upload(paths, folder)
        self._put_record(record, data)

        def put_in_place(name: str) -> None:
            source = f"{folder}/{object_of(name)}"
            try:
                size = paths[name].stat().st_size if name in paths else self._size_of(source)
                self._patient.copy(source, object_of(name), size)
            except FileNotFoundError:  # a later run took this one for dead, and has removed what was staged
                if name in before:  # else it was staged for a new record, and that run has copied it before
                    self._put_again(name, paths[name], before[name])

        at_once(put_in_place, names)
        self.delete(change.obsolete)
        self._patient.delete(f"{folder}/{object_of(name)}" for name in names)
        if self._present is not None:
            self._present.update(names)
        self._taken.pop(record, None)
        shutil.rmtree(self._staging(record), ignore_errors=True)

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

    def _size_of(self, name: str) -> int:
        """Return the bytes of an object; FileNotFoundError if there is none."""
        found = self._patient.look(name)
        if found is None:
            raise FileNotFoundError(name)
        return found.size

    def _put_again(self, name: str, path: Path, before: str) -> None:
        """Put a file under its final name, unless something else than before has come there."""
        if path.stat().st_size <= large_objects.LARGEST:
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
        groups: dict[str, dict[str, int]] = {}
        for found in self._objects.list(STAGED):
            group, _, name = found.name.removeprefix(f"{STAGED}/").partition("/")
            groups.setdefault(group, {})[name] = found.size
        if not groups:
            return
        used, live = set(self.used(folder)), {file.name for file in self.list(folder)}
        for group, sizes in groups.items():
            stem, _, attempt = group.rpartition("-")
            record = f"{folder}/{stem}.json"
            change = read(record) if record in live else None
            is_its = change is not None and change.attempt == attempt
            # Else a neighbour may be about to put the record.
            if is_its or (record in used and not are_neighbours(attempt.partition(".")[2], self.tag)):
                self._settle(f"{STAGED}/{group}", sizes, change if is_its else None)

    def places(self, names: Iterable[str], attempts: Mapping[str, str]) -> list[str]:
        """Return where shards are that have been committed, by the attempts of their chunks.

        They are paths of `Objects.filesystem`: in their place, or still staged.
        """
        there = {found.name for found in self._objects.list(STAGED)}
        folders = [f"{STAGED}/{chunk}-{attempt}" for chunk, attempt in attempts.items()]
        places = {place.rpartition("/")[2]: place for place in there if place.rpartition("/")[0] in folders}
        root = self._objects.address.partition("://")[2]
        return [f"{root}/{places.get(object_of(name), object_of(name))}" for name in names]

    def copy(self, folder: Path, below: tuple[str, ...]) -> None:
        """Copy the files whose names begin with one of `below` to a directory of this machine."""
        found = (one for one in self._objects.list() if not is_cancelled(one))
        names = [one.name for one in found if not one.name.startswith((STAGED, PLANS, NOTES))]
        self._download({name: name for name in names if name.startswith(below)}, folder)

    def copy_staged(self, folder: Path, attempts: Mapping[str, str]) -> None:
        """Copy the files that have been committed, by the attempts of chunks, and are not in place yet."""
        found = (one.name.removeprefix(f"{STAGED}/").partition("/") for one in self._objects.list(STAGED))
        committed = {f"{chunk}-{attempt}" for chunk, attempt in attempts.items()}
        names = {f"{STAGED}/{group}/{name}": name for group, _, name in found if group in committed}
        self._download(names, folder)

    def _download(self, names: Mapping[str, str], folder: Path) -> None:
        def download(name: str) -> None:
            with suppress(FileNotFoundError):  # a run has put it in place, or removed it, meanwhile
                self._fetch(name, path_of(folder, key_of_object(names[name])))

        at_once(download, names)

    def _settle(self, folder: str, sizes: Mapping[str, int], change: Change | None) -> None:
        """Put in place what is staged in a folder, if its record is there; remove it.

        Of each file, the number of bytes is given.
        """

        def put_in_place(name: str) -> None:
            with suppress(FileNotFoundError):  # a neighbour has just done it
                self._patient.copy(f"{folder}/{name}", name, sizes[name])

        if change is not None:
            at_once(put_in_place, sizes)
            self.delete(change.obsolete)
        self._patient.delete(f"{folder}/{name}" for name in sizes)
