"""The store on a disk: a directory of this machine, or of a mount, whose files appear together or not at all.

How a record is published, so that a crash at any instant leaves either the old state or the new one:

1. all its files are complete in its staging directory, on the disk;
2. the record is written as *pending*: it says which files there will be, and their SHA-256;
3. each file gets its final name, and files of the old record that are in the new one no more are removed;
4. the record gets its final name.

After a crash, a pending record that is whole is carried through from step 3; a torn one is dropped, with the
staging directory; one that cannot be read is an error that changes nothing: files of it may be in place.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from resnet_pipe.store import atomic
from resnet_pipe.store.disk_files import DiskFiles
from resnet_pipe.store.lock import are_neighbours, neighbours_run, output_lock, report_lock
from resnet_pipe.store.names import key_of, path_of
from resnet_pipe.store.store import WHOLE, Change


class Pending(NamedTuple):
    """A record whose publication has begun: its name now and at the end, and where its files are staged."""

    name: str
    record: str
    staging: Path


class Disk(DiskFiles):
    """The files of a directory; see `Store`. Folders come with their first file and go with the last one."""

    def __init__(self, root: Path, tag: str = "", attempt: str = "") -> None:
        super().__init__(root, tag)
        self._place = self._place_of(attempt)

    def exists(self, folder: str) -> bool:
        """See `Store.exists`."""
        return self.path(folder).is_dir()

    def make(self, folder: str, parents: bool) -> None:
        """See `Store.make`."""
        if parents:
            self.root.mkdir(parents=True, exist_ok=True)
        atomic.make_folder(self.path(folder), self.root.parent)

    def clear(self, _folder: str) -> None:
        """See `Store.clear`."""
        shutil.rmtree(self.root, ignore_errors=True)

    def held(self) -> AbstractContextManager[None]:
        """See `Store.held`: by a lock of the kernel."""
        return output_lock(self.home, self.tag)

    def neighbours_run(self) -> bool:
        """See `Store.neighbours_run`."""
        return neighbours_run(self.home, self.tag)

    def alone(self) -> AbstractContextManager[None]:
        """See `Store.alone`."""
        return report_lock(self.home)

    def stage(self, record: str) -> Path:
        """See `Store.stage`: on the same disk."""
        staging = self._staging(record, self._place)
        shutil.rmtree(staging, ignore_errors=True)
        atomic.make_folder(staging, self.home)
        return staging

    def unstage(self, record: str) -> None:
        """See `Store.unstage`."""
        if not self._pending(record).exists():
            shutil.rmtree(self._staging(record, self._place))

    def publish(self, record: str, data: bytes, change: Change) -> None:
        """See `Store.publish`, and the four steps at the top of this file."""
        self.complete(record)
        staging, pending = self._staging(record, self._place), self._pending(record)
        atomic.sync_up_to(staging.parent, self.home)
        pending.write_bytes(data)
        atomic.sync(pending)
        atomic.sync(pending.parent)
        self._carry_through(pending, record, staging, change)

    def complete(self, record: str) -> None:
        """See `Store.complete`: they are flushed to the disk."""
        for folder, _, names in os.walk(self._staging(record, self._place)):
            for name in names:
                atomic.sync(Path(folder, name))
            atomic.sync(Path(folder))

    def take_over(self, record: str, attempt: str, _names: Collection[str]) -> None:
        """See `Store.take_over`: it is moved to where this run stages."""
        staging = self._staging(record, self._place)
        shutil.rmtree(staging, ignore_errors=True)
        atomic.make_folder(staging.parent, self.home)
        # In one step, or not.
        os.replace(self._staging(record, self._place_of(attempt)), staging)  # noqa: PTH105

    def drop(self, attempts: Iterable[str]) -> None:
        """See `Store.drop`."""
        for attempt in attempts:
            shutil.rmtree(self.home / "staging" / self._place_of(attempt), ignore_errors=True)

    @contextmanager
    def shown(self, sign: str) -> Iterator[None]:
        """See `Store.shown`: it is a folder."""
        atomic.make_folder(self.home / "staging" / self._place_of(sign), self.home)
        try:
            yield
        finally:
            self.drop([sign])

    def see(self, sign: str) -> None:
        """See `Store.see`."""
        (self.home / "staging" / self._place_of(sign) / uuid4().hex).touch()

    def _carry_through(self, pending: Path, record: str, staging: Path, change: Change) -> None:
        """Publish a record that is pending: steps 3 and 4."""
        self._put_in_place(staging, change.files, change.obsolete)
        final = self.path(record)
        os.replace(pending, final)  # noqa: PTH105 - synced already; the os call is the one with the guarantee
        atomic.sync(final.parent)
        shutil.rmtree(staging, ignore_errors=True)

    def place(self, record: str, names: Sequence[str], obsolete: Iterable[str]) -> None:
        """See `Store.place`."""
        staging = self._staging(record, self._place)
        for name in names:
            atomic.sync(path_of(staging, name))
        self._put_in_place(staging, names, obsolete)

    def adopt(self, folder: str, names: Iterable[str], obsolete: Iterable[str] = ()) -> None:
        """See `Store.adopt`."""
        self._put_in_place(self.path(folder), names, obsolete)

    def _put_in_place(self, staging: Path, names: Iterable[str], obsolete: Iterable[str]) -> None:
        changed: set[Path] = set()
        for name in names:
            staged, path = path_of(staging, name), self.path(name)
            if staged.exists():  # otherwise it is in place, or belongs to a source that is kept
                atomic.make_folder(path.parent, self.root)
                os.replace(staged, path)  # noqa: PTH105 - the os call is the one with the guarantee
                changed.add(path.parent)
        changed.update(map(self._remove, obsolete))
        for directory in changed:
            if directory.is_dir():  # otherwise it has become empty, and those above it are here too
                atomic.sync_up_to(directory, self.root)

    def pending(self, folder: str) -> Iterator[Pending]:
        """Yield the pending records of a folder, whether somebody is publishing them or died of it."""
        for path in sorted(self.path(folder).glob(".*.json.*tmp")):
            record = f"{folder}/{key_of(path.name[1:].partition('.json.')[0])}.json"
            staging = self._staging(record, atomic.tag_of(path.name) or WHOLE)
            yield Pending(f"{folder}/{key_of(path.name)}", record, staging)

    def half_put(self, patterns: Iterable[str]) -> Iterator[Path]:
        """Yield what somebody is putting, or died of it, under names like these in the root and the home."""
        for directory in (self.root, self.home):
            for pattern in patterns:
                yield from sorted(directory.glob(f".{pattern}.*tmp"))

    def recover(self, folder: str, read: Callable[[str], Change | None], puts: Iterable[str]) -> None:
        """See `Store.recover`."""
        with self.alone():
            left = [one for one in self.pending(folder) if not self._is_of_a_neighbour(one.name)]
            changes = [(one, read(one.name)) for one in left]  # all, before anything is changed
            for one, change in changes:
                self._recover(one, change)
            for path in self.half_put(puts):
                if not self._is_of_a_neighbour(path.name):
                    path.unlink(missing_ok=True)
            for place in (*self.home.glob("staging/*"), *self.home.glob("spool/*")):
                if place != self.spool and not self._is_of_a_neighbour(f".{place.name}.tmp"):
                    shutil.rmtree(place, ignore_errors=True)

    def _recover(self, pending: Pending, change: Change | None) -> None:
        """Publish a pending record, or drop it if it is torn or lacks files."""
        path = self.path(pending.name)
        if change is None:
            path.unlink(missing_ok=True)
        elif all(self._has(pending, name, sha256) for name, sha256 in change.files.items()):
            self._carry_through(path, pending.record, pending.staging, change)
        else:
            # Files are lost, and others may have been replaced: the sources of both records are new again.
            for name in (*change.files, *change.obsolete, pending.record):
                self._remove(name)
            path.unlink()
            atomic.sync(path.parent)

    def _has(self, pending: Pending, name: str, sha256: str) -> bool:
        """Tell whether a file of a pending record is staged, or in place as it was written."""
        return path_of(pending.staging, name).exists() or self.sha256(name) == sha256

    def _place_of(self, attempt: str) -> str:
        return ".".join(filter(None, (attempt, self.tag or WHOLE)))

    def _pending(self, record: str) -> Path:
        return atomic.temporary_name(self.path(record), self.tag)

    def _staging(self, record: str, place: str) -> Path:
        return self.home / "staging" / place / self.path(record).stem

    def _is_of_a_neighbour(self, name: str) -> bool:
        """Tell whether a temporary name is of another division of the same N, which may be running now."""
        return are_neighbours(atomic.tag_of(name), self.tag)
