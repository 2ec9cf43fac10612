"""Where the bytes of sources are: the contract, and files in folders, one file a source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from resnet_pipe.errors import SourceError
from resnet_pipe.reader import file
from resnet_pipe.reader.behind import behind
from resnet_pipe.reader.listing import PassedOver, empty_places, has_entries, list_files, root_of
from resnet_pipe.reader.opened import DiskFile, Opened
from resnet_pipe.reader.reach import DiskReach, Reach
from resnet_pipe.reader.source import NOTHING, Carried, Source
from resnet_pipe.store.address import Address
from resnet_pipe.store.names import path_of


class Files(Protocol):
    """Lists sources, and gives the bytes of one. Small and picklable; workers get a copy."""

    @property
    def root(self) -> Path | Address:
        """The directory, or the folder in a bucket, that the keys of the sources start from."""

    @property
    def reach(self) -> Reach:
        """Which files it might list, whether they are there or not."""

    @property
    def extensions(self) -> frozenset[str]:
        """By which sources are recognised, lower case and with the dot."""

    def list_sources(self, passed_over: PassedOver | None = None) -> Iterator[Source]:
        """Yield every source once, sorted by key; count what is none, by its extension, in `passed_over`.

        Raises:
            RunError: a directory, or a bucket, cannot be listed.
        """

    def empty_places(self) -> Iterator[tuple[str, str]]:
        """Yield each place that is looked into and is empty, and what the keys of sources in it begin with.

        Raises:
            RunError: a bucket cannot be listed.
        """

    def is_gone(self) -> bool:
        """Tell whether there is nothing at all any more where the root is, or it cannot be looked into."""

    def announce(self, key: str) -> None:
        """Have a source read ahead, without waiting: it will be read soon."""

    def read(self, key: str, alive: Callable[[], None]) -> bytes:
        """Return all bytes of a source; `alive` is called often if that takes long, but nothing hangs.

        Raises:
            SourceError: `missing`, `unreadable`, `not_a_file`, `empty` or `too_large`.
        """

    def carried(self, key: str, alive: Callable[[], None]) -> Carried:
        """Return what comes with a source that has just been read, if listing did not tell: `reader.carry`.

        Raises:
            SourceError: as for `read`.
        """

    def as_files(self, sources: Sequence[Source], folder: Path, alive: Callable[[], None]) -> list[Path]:
        """Return files with the bytes of sources: their own, or ones made in an empty folder, perhaps fewer.

        `alive` is called as for `read`. A source that cannot be read becomes a file that cannot.
        """


@runtime_checkable
class LargeFiles(Files, Protocol):
    """Files that are too large for the memory."""

    def at_hand(
        self, key: str, alive: Callable[[], None], again: bool = False
    ) -> AbstractContextManager[Opened]:
        """Have a source open while the block runs, as a file of a disk if that is possible.

        If it has to be copied to one, `alive` is called often; with `again`, the copy stays until this
        process asks for another source. What is on no disk in the end is a file that is slow to read.

        Raises:
            SourceError: `missing`, `unreadable`, `not_a_file` or `empty`.
        """

    def sweep(self) -> None:
        """Remove copies that dead processes have left on this machine."""


class Containers(Protocol):
    """Files that hold the sources, or name them. `Folder` is one kind; those in a bucket are another."""

    @property
    def root(self) -> Path | Address:
        """The directory, or the folder in a bucket, that their keys start from."""

    @property
    def reach(self) -> Reach:
        """Which of them it might list, whether they are there or not."""

    def list_sources(self, passed_over: PassedOver | None = None) -> Iterator[Source]:
        """See `Files.list_sources`."""

    def empty_places(self) -> Iterator[tuple[str, str]]:
        """See `Files.empty_places`."""

    def is_gone(self) -> bool:
        """See `Files.is_gone`."""

    def open(
        self, key: str, alive: Callable[[], None] = lambda: None, listed: Source | None = None
    ) -> Opened:
        """Open one of them; `alive` is called while that takes long.

        `listed` is what a listing has just told of it; in a bucket, that spares a request.

        Raises:
            SourceError: `missing`, `unreadable`, `not_a_file` or `empty`.
        """

    def holder_of(self, key: str, alive: Callable[[], None] = lambda: None) -> str:
        """Return the key of the one that holds what a key names, or is that itself: `a.tar` of `a.tar/b.jpg`.

        `alive` is called while that takes long.

        Raises:
            SourceError: `unreadable`: its server does not answer.
        """


@dataclass(frozen=True)
class Folder:
    """The files that `entries` name, absolute paths and patterns, all below `root`.

    Extensions, lower case and with the dot, are of those that are taken from a directory.
    """

    root: Path
    entries: tuple[Path, ...]
    recursive: bool
    extensions: frozenset[str]

    @classmethod
    def of(cls, entries: Sequence[Path], recursive: bool, extensions: frozenset[str]) -> Folder:
        """Return those that at least one entry names."""
        return cls(root_of(entries), tuple(entries), recursive, extensions)

    @property
    def reach(self) -> Reach:
        """See `Files.reach`."""
        return DiskReach(self.entries, self.recursive, self.extensions)

    def list_sources(self, passed_over: PassedOver | None = None) -> Iterator[Source]:
        """See `Files.list_sources`; no file is opened."""
        return list_files(self.entries, self.recursive, self.extensions, passed_over)

    def empty_places(self) -> Iterator[tuple[str, str]]:
        """See `Files.empty_places`."""
        return empty_places(self.root, self.entries)

    def is_gone(self) -> bool:
        """See `Files.is_gone`."""
        return not has_entries(self.root)

    def announce(self, key: str) -> None:
        """See `Files.announce`."""
        file.announce(path_of(self.root, key))

    def read(self, key: str, _alive: object = None) -> bytes:
        """See `Files.read`."""
        try:
            with file.open_file(path_of(self.root, key)) as source:
                data = source.read()
                behind.let_go(source.fileno(), 0, len(data))
                return data
        except OSError as error:
            raise file.refusal(error) from None
        except MemoryError:
            raise SourceError("reader", "too_large", "not enough memory to read it") from None

    def carried(self, _key: str, _alive: object = None) -> Carried:
        """See `Files.carried`: a file in a folder comes alone."""
        return NOTHING

    def open(self, key: str, _alive: object = None, listed: Source | None = None) -> DiskFile:
        """See `Containers.open`."""
        return DiskFile(path_of(self.root, key))

    def at_hand(self, key: str, _alive: object, again: bool = False) -> AbstractContextManager[DiskFile]:
        """See `LargeFiles.at_hand`; it is on one."""
        return closing(self.open(key))

    def sweep(self) -> None:
        """See `LargeFiles.sweep`: there are none."""

    def holder_of(self, key: str, _alive: object = None) -> str:
        """See `Containers.holder_of`: what is no directory on the way to it."""
        end = key.find("/")
        while end >= 0 and path_of(self.root, key[:end]).is_dir():
            end = key.find("/", end + 1)
        return key if end < 0 else key[:end]

    def as_files(self, sources: Sequence[Source], _folder: Path, _alive: object = None) -> list[Path]:
        """See `Files.as_files`; they are their own."""
        return [path_of(self.root, source.key) for source in sources]


def local_root(files: Files) -> Path:
    """Return the directory that keys start from, where that is one; ValueError if it is in a bucket."""
    if isinstance(files.root, Path):
        return files.root
    raise ValueError(f"{files.root} is in a bucket")
