"""Where the bytes of sources are: the contract, and files in folders, one file a source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from resnet_pipe.errors import SourceError
from resnet_pipe.reader import file
from resnet_pipe.reader.listing import PassedOver, empty_places, has_entries, list_files, root_of
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
                return source.read()
        except OSError as error:
            raise file.refusal(error) from None
        except MemoryError:
            raise SourceError("reader", "too_large", "not enough memory to read it") from None

    def carried(self, _key: str, _alive: object = None) -> Carried:
        """See `Files.carried`: a file in a folder comes alone."""
        return NOTHING

    def as_files(self, sources: Sequence[Source], _folder: Path, _alive: object = None) -> list[Path]:
        """See `Files.as_files`; they are their own."""
        return [path_of(self.root, source.key) for source in sources]


def local_root(files: Files) -> Path:
    """Return the directory that keys start from, where that is one; ValueError if it is in a bucket."""
    if isinstance(files.root, Path):
        return files.root
    raise ValueError(f"{files.root} is in a bucket")
