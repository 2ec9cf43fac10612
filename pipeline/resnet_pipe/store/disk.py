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

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from resnet_pipe.store import atomic
from resnet_pipe.store.digest import file_sha256
from resnet_pipe.store.lock import are_neighbours, neighbours_run, output_lock, report_lock
from resnet_pipe.store.names import key_of, path_of
from resnet_pipe.store.store import HOME, WHOLE, Change, Store, StoredFile

_ABSENT = frozenset([errno.ENOENT, errno.ENOTDIR, errno.ELOOP])


class Pending(NamedTuple):
    """A record whose publication has begun: its name now and at the end, and where its files are staged."""

    name: str
    record: str
    staging: Path


class Disk(Store):
    """The files of a directory; see `Store`. Folders come with their first file and go with the last one.

    An attempt has a name if somebody else is to publish what it stages, to whom it is handed over.
    """

    root: Path

    def __init__(self, root: Path, tag: str = "", attempt: str = "") -> None:
        self.root = root
        self.home = root / HOME
        self.tag = tag
        self._place = ".".join(filter(None, (attempt, tag or WHOLE)))
        self.spool = self.home / "spool" / (tag or WHOLE)

    def path(self, name: str) -> Path:
        """Return the path of a file, whether it is there or not."""
        return path_of(self.root, name)

    def where(self, name: str) -> str:
        """See `Store.where`: its path."""
        return str(self.path(name))

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

    def list(self, folder: str) -> Iterator[StoredFile]:
        """See `Store.list`; what begins with a dot is being written."""
        try:
            names = sorted(os.listdir(self.path(folder)))  # noqa: PTH208 - names, not paths
        except FileNotFoundError:
            return
        for name in names:
            if not name.startswith("."):
                found = self.look(f"{folder}/{key_of(name)}" if folder else key_of(name))
                if found is not None:  # otherwise it is a folder, or has gone meanwhile
                    yield found

    def look(self, name: str) -> StoredFile | None:
        """See `Store.look`: of a regular file."""
        try:
            state = self.path(name).stat()
        except ValueError:  # a name that no file can have
            return None
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise
        return StoredFile(name, state.st_size, state.st_mtime_ns) if stat.S_ISREG(state.st_mode) else None

    def read(self, name: str) -> bytes:
        """See `Store.read`."""
        return self.path(name).read_bytes()

    def has(self, names: Sequence[str]) -> bool:
        """See `Store.has`."""
        return all(self.look(name) is not None for name in names)

    def sha256(self, name: str) -> str | None:
        """See `Store.sha256`."""
        return file_sha256(self.path(name)) if self.path(name).is_file() else None

    def read_all(self, names: Sequence[str]) -> Iterator[bytes]:
        """See `Store.read_all`."""
        return map(self.read, names)

    def gather(self, _names: Iterable[str]) -> Path:
        """See `Store.gather`: where they are."""
        return self.root

    def put(self, name: str, data: Iterable[bytes]) -> None:
        """See `Store.put`."""
        with atomic.replacing(self.path(name), self.tag) as temporary, temporary.open("wb") as file:
            file.writelines(data)

    @contextmanager
    def put_after(self, name: str, data: Iterable[bytes]) -> Iterator[None]:
        """See `Store.put_after`: it is beside its name meanwhile, and flushed."""
        with atomic.replacing(self.path(name), self.tag) as temporary:
            with temporary.open("wb") as file:
                file.writelines(data)
            atomic.sync(temporary)
            yield

    def delete(self, names: Iterable[str]) -> None:
        """See `Store.delete`; folders that are empty then go as well."""
        for folder in {self._remove(name) for name in names}:
            if folder.is_dir():
                atomic.sync(folder)

    def _remove(self, name: str) -> Path:
        """Remove a file, and the folders that are empty then; return the nearest folder that is left."""
        path = self.path(name)
        path.unlink(missing_ok=True)
        for directory in path.parents:
            if directory in (self.root, self.home) or self.home in directory.parents:
                break
            if self.tag and directory.is_dir():
                break  # another division may be about to put a file into an empty one
            try:
                directory.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                break  # it is not empty
        return directory

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
        self.flush(record)
        staging, pending = self._staging(record, self._place), self._pending(record)
        atomic.sync_up_to(staging.parent, self.home)
        pending.write_bytes(data)
        atomic.sync(pending)
        atomic.sync(pending.parent)
        self._carry_through(pending, record, staging, change)

    def flush(self, record: str) -> None:
        """Flush the staged files of a record to the disk."""
        for folder, _, names in os.walk(self._staging(record, self._place)):
            for name in names:
                atomic.sync(Path(folder, name))
            atomic.sync(Path(folder))

    def hand_over(self, record: str) -> None:
        """Let what this attempt has staged for a record be what its run has staged, and will publish."""
        staging = self._staging(record, self.tag or WHOLE)
        shutil.rmtree(staging, ignore_errors=True)
        atomic.make_folder(staging.parent, self.home)
        os.replace(self._staging(record, self._place), staging)  # noqa: PTH105 - in one step, or not

    def drop_attempt(self) -> None:
        """Remove what this attempt has staged, and not handed over."""
        shutil.rmtree(self.home / "staging" / self._place, ignore_errors=True)

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

    def _pending(self, record: str) -> Path:
        return atomic.temporary_name(self.path(record), self.tag)

    def _staging(self, record: str, place: str) -> Path:
        return self.home / "staging" / place / self.path(record).stem

    def _is_of_a_neighbour(self, name: str) -> bool:
        """Tell whether a temporary name is of another division of the same N, which may be running now."""
        return are_neighbours(atomic.tag_of(name), self.tag)
