"""The contract of a store: where the files of an output directory are, and how they become final."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from os import PathLike, fspath
from pathlib import Path
from typing import NamedTuple

from resnet_pipe.errors import RunError
from resnet_pipe.store.address import Address, is_address
from resnet_pipe.store.objects import Objects

HOME = "_resnet_pipe"
"""The folder below the root that belongs to resnet-pipe. What is in it stays when it is empty."""
WHOLE = "whole"
"""In the folders for what is not final: of a run that has the output for itself."""
Output = Path | Objects
"""Where a run's results are: a directory, or what is below an address in a bucket."""


def output_of(name: str | PathLike[str]) -> Output:
    """Return what a user calls so: what is at an address, or a directory; ValueError for a bad address."""
    text = fspath(name)
    return Objects(Address(text)) if is_address(text) else Path(text)


@contextmanager
def refused(root: Output) -> Iterator[None]:
    """Turn what the disk or the server refuses in a block into a `RunError` that says what to do."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot continue: {error.filename2 or error.filename or root}: {error.strerror or error}",
            "check that the disk is mounted, writable and not full, and that nothing is in the way; then run"
            " the same command again"
            if isinstance(root, Path)
            else "check that the server can be reached, that the bucket exists, has room, and may be written"
            " to with the credentials in the environment; then run the same command again",
        ) from error


class StoredFile(NamedTuple):
    """A file of a store, which is complete: its name below the root, and its size in bytes.

    The version differs where the content does: when it was modified, nanoseconds since 1970; in a bucket the
    entity tag.
    """

    name: str
    size: int
    version: int | str


class Change(NamedTuple):
    """What becomes of the files when a record comes: all that it names, with SHA-256, and those that go.

    The attempt tells apart who has staged them, where several may at once.
    """

    files: Mapping[str, str]
    obsolete: Sequence[str]
    attempt: str = ""


class Store(ABC):
    """The files below a root, which need not exist yet.

    `root` is where the files are. A name is the path below it, with slashes, in the reversible text form of
    `key_of`. Every method raises OSError if the disk or the server cannot be reached, refuses, or is full.

    `home` is a directory of this machine, which exists from `held` on: what is not final is in it, and what a
    run leaves besides its results. There a run keeps in `spool` what is finished of a chunk in flight. The
    tag is that of a division that writes, among those that share the output, or empty.

    Somebody else than the run may stage, in a process that may be on another machine: an attempt, which has a
    name without `-` and `.`. It takes part by `attempted`, `stage` and `complete`. The run takes over what it
    has completed, and publishes it. So whatever becomes of an attempt, it cannot publish anything.
    """

    root: Output
    home: Path
    tag: str
    spool: Path

    @abstractmethod
    def where(self, name: str) -> str:
        """Return what a file is called in messages, whether it is there or not."""

    @abstractmethod
    def exists(self, folder: str) -> bool:
        """Tell whether there is this folder of records; in a bucket, whether one is in it."""

    @abstractmethod
    def make(self, folder: str, parents: bool) -> None:
        """Make the folder of records, where folders are made; with `parents`, also what is above it."""

    @abstractmethod
    def clear(self, folder: str) -> None:
        """Remove everything, files and the folder of records, so that it no longer exists."""

    @abstractmethod
    def held(self) -> AbstractContextManager[None]:
        """Have the output for one run while a block runs; LockedError if another one has it."""

    @abstractmethod
    def neighbours_run(self) -> bool:
        """Tell whether other divisions of the job may run now."""

    @abstractmethod
    def alone(self) -> AbstractContextManager[None]:
        """Wait for the other divisions of the job, and let them wait, while a block runs."""

    @abstractmethod
    def list(self, folder: str) -> Iterator[StoredFile]:
        """Yield the files in a folder, sorted by name: not those below it, nor what is being written."""

    @abstractmethod
    def look(self, name: str) -> StoredFile | None:
        """Return what is known of a file without reading it; None if there is none."""

    @abstractmethod
    def has(self, names: Sequence[str]) -> bool:
        """Tell whether all of these files are there."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return the content of a file; FileNotFoundError if there is none."""

    @abstractmethod
    def sha256(self, name: str) -> str | None:
        """Return the SHA-256 of a file, hexadecimal; None if there is none."""

    @abstractmethod
    def read_all(self, names: Sequence[str]) -> Iterator[bytes]:
        """Yield the content of each of these files; FileNotFoundError if there is none."""

    @abstractmethod
    def gather(self, names: Iterable[str]) -> Path:
        """Return a directory, laid out as the root, in which these files are; until the next call."""

    @abstractmethod
    def put(self, name: str, data: Iterable[bytes]) -> None:
        """Write a file, in the place of one that may be there. It is complete, and durable, or not there."""

    @abstractmethod
    def put_after(self, name: str, data: Iterable[bytes]) -> AbstractContextManager[None]:
        """Write a file that appears when a block has ended without an error."""

    def mark(self, _name: str) -> str:
        """Return what `exchange` knows a file by; empty if there is none, or none is needed."""
        return ""

    def exchange(self, name: str, data: Iterable[bytes], _mark: str) -> str | None:
        """Write a file in the place of the one with this mark, or of none, and return its own mark.

        None, and nothing is written, if another run has written it since: whoever has made `data` of what he
        has read after he asked for the mark makes it again. On a disk, who is `alone` has no others.
        """
        self.put(name, data)
        return ""

    def keep(self, folder: Path, count: int) -> None:  # noqa: B027 - most stores need nothing here
        """Keep a folder of `home` with the results, and of those beside it whose names end alike the newest.

        `count` is how many are kept in all. What is hidden in it is left out. On a disk, it is there.
        """

    @abstractmethod
    def delete(self, names: Iterable[str]) -> None:
        """Remove files, durably; what is not there is passed over."""

    def used(self, folder: str) -> Iterator[str]:
        """Yield the names in a folder of records that no new record may get, not even when they are gone."""
        return iter(())

    def claim(self, records: Sequence[str]) -> None:  # noqa: B027 - most stores need nothing here
        """Make sure that no other run creates records of these names; LockedError if one may."""

    def attempt(self, _record: str) -> str:
        """Return what tells the next publication of a record from others, for its `Change`."""
        return ""

    @abstractmethod
    def stage(self, record: str) -> Path:
        """Return an empty directory for the files that a record will name, laid out as below the root.

        Only what is in it when `publish` is called counts.
        """

    @abstractmethod
    def unstage(self, record: str) -> None:
        """Remove what `stage` gave, unless the publication has begun: that is left to `recover`."""

    def attempted(self) -> AbstractContextManager[None]:
        """Have what an attempt needs on its machine while a block runs."""
        return nullcontext()

    @abstractmethod
    def complete(self, record: str) -> None:
        """Make what an attempt has staged for a record durable, where its run finds it."""

    @abstractmethod
    def take_over(self, record: str, attempt: str, names: Collection[str]) -> None:
        """Let the files of these names, which an attempt has completed, be what is staged for a record.

        LockedError if another run has removed them.
        """

    @abstractmethod
    def drop(self, attempts: Collection[str]) -> None:
        """Remove what attempts have staged and nobody has taken over; what cannot be is left to `recover`."""

    @abstractmethod
    def shown(self, sign: str) -> AbstractContextManager[None]:
        """Leave a sign while a block runs, under a name that nobody else has."""

    @abstractmethod
    def see(self, sign: str) -> None:
        """Prove that a sign is there, and that something can be put beside it; OSError if not."""

    @abstractmethod
    def publish(self, record: str, data: bytes, change: Change) -> None:
        """Make the staged files and a record final. Files that are not staged are in place already."""

    @abstractmethod
    def place(self, record: str, names: Sequence[str], obsolete: Iterable[str]) -> None:
        """Make files final that are staged for a record which there is not, and remove others, durably."""

    @abstractmethod
    def adopt(self, folder: str, names: Iterable[str], obsolete: Iterable[str] = ()) -> None:
        """Move files from a folder to the same names below the root, and remove others, durably.

        What has been done already is passed over, so that a crash in the middle can be repeated.
        """

    @abstractmethod
    def recover(self, folder: str, read: Callable[[str], Change | None], puts: Iterable[str]) -> None:
        """Finish or undo publications that were cut off; remove what else a run that is dead has left.

        What other divisions do now is left alone.

        Args:
            folder: of the records.
            read: what the record under a name changes; None if it is torn: nothing was done for it.
            puts: patterns of the names that somebody may have been putting.
        """
