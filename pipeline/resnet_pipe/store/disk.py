"""The store: a directory of this machine's disk, or of a mount, where files appear together or not at all.

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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from resnet_pipe.store import atomic
from resnet_pipe.store.digest import file_sha256
from resnet_pipe.store.lock import report_lock
from resnet_pipe.store.names import key_of, path_of

HOME = "_resnet_pipe"
"""The folder below the root that belongs to resnet-pipe. What is in it stays when it is empty."""
_WHOLE = "whole"
"""In the folders for what is not final: of a run that has the directory for itself."""
_ABSENT = frozenset([errno.ENOENT, errno.ENOTDIR, errno.ELOOP])


class StoredFile(NamedTuple):
    """A file of a store, which is complete: its name below the root, and its size in bytes.

    The version differs where the content does: when it was modified, nanoseconds since 1970.
    """

    name: str
    size: int
    version: int


class Change(NamedTuple):
    """What becomes of the files when a record comes: all that it names, with SHA-256, and those that go."""

    files: Mapping[str, str]
    obsolete: Sequence[str]


class Pending(NamedTuple):
    """A record whose publication has begun: its name now and at the end, and where its files are staged."""

    name: str
    record: str
    staging: Path


class Disk:
    """The files of a directory, which need not exist yet.

    A name is the path below it, with slashes, in the reversible text form of `key_of`. Folders come with
    their first file and go with their last one. Every method raises OSError if the disk cannot be reached, or
    has no room.

    Below the root, `home` is resnet-pipe's own; there a run keeps in `spool` what is finished of a chunk in
    flight. The tag is that of a division that writes, among those that share the directory, or empty. An
    attempt has a name if somebody else is to publish what it stages, who calls `take_over`.
    """

    def __init__(self, root: Path, tag: str = "", attempt: str = "") -> None:
        self.root = root
        self.home = root / HOME
        self.tag = tag
        self._place = ".".join(filter(None, (attempt, tag or _WHOLE)))
        self.spool = self.home / "spool" / (tag or _WHOLE)

    def path(self, name: str) -> Path:
        """Return the path of a file, whether it is there or not."""
        return path_of(self.root, name)

    def list(self, folder: str) -> Iterator[StoredFile]:
        """Yield the files in a folder, sorted by name; what begins with a dot is being written."""
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
        """Return what is known of a regular file without reading it; None if there is none."""
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
        """Return the content of a file; FileNotFoundError if there is none."""
        return self.path(name).read_bytes()

    def put(self, name: str, data: Iterable[bytes]) -> None:
        """Write a file, in the place of one that may be there. It is complete, and durable, or not there."""
        with atomic.replacing(self.path(name), self.tag) as temporary, temporary.open("wb") as file:
            file.writelines(data)

    @contextmanager
    def put_after(self, name: str, data: Iterable[bytes]) -> Iterator[None]:
        """Write a file beside its name and flush it; rename it when the block ends without an error."""
        with atomic.replacing(self.path(name), self.tag) as temporary:
            with temporary.open("wb") as file:
                file.writelines(data)
            atomic.sync(temporary)
            yield

    def delete(self, names: Iterable[str]) -> None:
        """Remove files, durably, and the folders that are empty then; what is not there is passed over."""
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
        """Wait for the other divisions of the job, and let them wait, while a block runs."""
        return report_lock(self.home)

    def stage(self, record: str) -> Path:
        """Return an empty directory on the same disk for the files that a record will name.

        They are laid out in it as below the root. Only what is in it when `publish` is called counts.
        """
        staging = self._staging(record, self._place)
        shutil.rmtree(staging, ignore_errors=True)
        atomic.make_folder(staging, self.home)
        return staging

    def unstage(self, record: str) -> None:
        """Remove what `stage` gave, unless the record is pending: that is left to `recover`."""
        if not self._pending(record).exists():
            shutil.rmtree(self._staging(record, self._place))

    def publish(self, record: str, data: bytes, change: Change) -> None:
        """Make the staged files and a record final, in the four steps that stand at the top of this file.

        Files of the change that are not staged are in place already.
        """
        staging, pending = self._staging(record, self._place), self._pending(record)
        self.flush(record)
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

    def take_over(self, record: str, attempt: Disk) -> None:
        """Make what an attempt has staged for a record ours."""
        staging = self.stage(record)
        staging.rmdir()
        os.replace(attempt._staging(record, attempt._place), staging)  # noqa: PTH105 - in one step, or not

    def drop_attempt(self) -> None:
        """Remove what this attempt has staged, and nobody has taken over."""
        shutil.rmtree(self.home / "staging" / self._place, ignore_errors=True)

    def _carry_through(self, pending: Path, record: str, staging: Path, change: Change) -> None:
        """Publish a record that is pending: steps 3 and 4."""
        self._put_in_place(staging, change.files, change.obsolete)
        final = self.path(record)
        os.replace(pending, final)  # noqa: PTH105 - synced already; the os call is the one with the guarantee
        atomic.sync(final.parent)
        shutil.rmtree(staging, ignore_errors=True)

    def adopt(self, folder: str, names: Iterable[str], obsolete: Iterable[str] = ()) -> None:
        """Rename files from a folder to the same names below the root, and remove others, durably.

        What has been done already is passed over, so that a crash in the middle can be repeated.
        """
        self._put_in_place(self.path(folder), names, obsolete)

    def _put_in_place(self, staging: Path, names: Iterable[str], obsolete: Iterable[str]) -> None:
        changed: set[Path] = set()
        for name in names:
            staged, path = path_of(staging, name), self.path(name)
            if staged.exists():  # otherwise it is in place, or belongs to a source that is kept
                atomic.make_folder(path.parent, self.root)
                os.replace(staged, path)  # noqa: PTH105 - the os call is the one with the guarantee
                changed.add(path.parent)
        changed.update([self._remove(name) for name in obsolete])
        for directory in changed:
            if directory.is_dir():  # otherwise it has become empty, and those above it are here too
                atomic.sync_up_to(directory, self.root)

    def pending(self, folder: str) -> Iterator[Pending]:
        """Yield the pending records of a folder, whether somebody is publishing them or died of it."""
        for path in sorted(self.path(folder).glob(".*.json.*tmp")):
            record = f"{folder}/{key_of(path.name[1:].partition('.json.')[0])}.json"
            staging = self._staging(record, atomic.tag_of(path.name) or _WHOLE)
            yield Pending(f"{folder}/{key_of(path.name)}", record, staging)

    def half_put(self, patterns: Iterable[str]) -> Iterator[Path]:
        """Yield what somebody is putting, or died of it, under names like these in the root and the home."""
        for directory in (self.root, self.home):
            for pattern in patterns:
                yield from sorted(directory.glob(f".{pattern}.*tmp"))

    def recover(self, folder: str, read: Callable[[str], Change | None], puts: Iterable[str]) -> None:
        """Carry pending records through, or drop them; remove what else a run that is dead has left.

        What other divisions do now is left alone.

        Args:
            folder: of the records.
            read: what the record under a name changes; None if it is torn: nothing was done for it.
            puts: patterns of the names that somebody may have been putting.
        """
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
        staged = path_of(pending.staging, name).exists()
        return staged or (self.look(name) is not None and file_sha256(self.path(name)) == sha256)

    def _pending(self, record: str) -> Path:
        return atomic.temporary_name(self.path(record), self.tag)

    def _staging(self, record: str, place: str) -> Path:
        return self.home / "staging" / place / self.path(record).stem

    def _is_of_a_neighbour(self, name: str) -> bool:
        """Tell whether a temporary name is of another division of the same N, which may be running now."""
        tag = atomic.tag_of(name)
        return tag != self.tag and tag.partition("of")[2] == self.tag.partition("of")[2] != ""
