"""The contract of a store: where files are, and how some of them appear together or not at all.

A name is the path below the store's root, with slashes, in the reversible text form of `key_of`. Folders come
with their first file and go with their last one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol


class StoredFile(NamedTuple):
    """A file of a store, which is complete: its name below the root, and its size in bytes.

    The version differs where the content does: on a disk, when it was modified, nanoseconds since 1970.
    """

    name: str
    size: int
    version: int


class Change(NamedTuple):
    """What becomes of the files when a record comes: all that it names, with SHA-256, and those that go."""

    files: Mapping[str, str]
    obsolete: Sequence[str]


class Store(Protocol):
    """Files under names; every method raises OSError if they cannot be reached, or there is no room."""

    def where(self, name: str) -> str:
        """Return what a message calls a file."""

    def list(self, folder: str) -> Iterator[StoredFile]:
        """Yield the files in a folder, sorted by name; what is being written is none yet."""

    def look(self, name: str) -> StoredFile | None:
        """Return what is known of a file without reading it; None if there is none."""

    def read(self, name: str) -> bytes:
        """Return the content of a file; FileNotFoundError if there is none."""

    def put(self, name: str, data: Iterable[bytes]) -> None:
        """Write a file, in the place of one that may be there. It is complete, and durable, or not there."""

    def put_after(self, name: str, data: Iterable[bytes]) -> AbstractContextManager[None]:
        """Put a file when a block ends without an error; as much as possible is tried before it begins."""

    def delete(self, names: Iterable[str]) -> None:
        """Remove files, durably; those that are not there are passed over."""

    def alone(self) -> AbstractContextManager[None]:
        """Wait for the other divisions of the job, and let them wait, while a block runs.

        What they all write must not be written by one that has read it before another has changed it.
        """

    def stage(self, record: str) -> Path:
        """Return an empty directory of this machine for the files that a record will name.

        They are laid out in it as below the root. Only what is in it when `publish` is called counts.
        """

    def unstage(self, record: str) -> None:
        """Remove what `stage` gave: nothing will be published. What has begun is left to `recover`."""

    def publish(self, record: str, data: bytes, change: Change) -> None:
        """Make the staged files and a record with this content final: the files first, the record last.

        Whoever reads the store by its records sees the old state or the new one, whatever happens. Files of
        the change that are not staged are in place already.
        """

    def recover(
        self, folder: str, read: Callable[[str], Change | None], puts: Iterable[str]
    ) -> Iterable[str]:
        """Finish or undo what a crash left half done, and return the names of the records published by that.

        What other divisions do now is left alone.

        Args:
            folder: of the records.
            read: what the record under a name changes; None if it is torn: nothing was done for it. All are
                read before anything is changed.
            puts: patterns of the names that somebody may have been putting.
        """

    def adopt(self, folder: str, names: Iterable[str], obsolete: Iterable[str] = ()) -> None:
        """Move files from a folder, laid out as the root, to where they belong, and remove others.

        Durably; what has been done already is passed over, so that a crash in the middle can be repeated.
        """
