"""The contract of a reader, and what those of files have in common: which files there are, or might be."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import ClassVar, Protocol

from resnet_pipe.reader.listing import PassedOver, Pattern, advance, list_files, split
from resnet_pipe.reader.source import FrameCounts, Item, Source, Span

_SIGNS = re.compile(r"\[!?\]?[^\]]*\]|.", re.DOTALL)
"""The parts of a segment of a glob pattern, each of which stands for one character, but for `*`."""


class Reader(Protocol):
    """Lists sources and decodes them. Small and picklable; workers get a copy."""

    @property
    def root(self) -> Path:
        """The directory that the keys of the sources start from."""

    @property
    def reach(self) -> Reach:
        """Which files it might list, whether they are there or not."""

    @property
    def expected_items(self) -> int:
        """A rough guess of how many items a source gives, for sizing chunks and tasks."""

    def load(self) -> None:
        """Import what decoding needs, or raise `ImportError`; a worker does before it reads anything."""

    def list_sources(self, passed_over: PassedOver | None = None) -> Iterator[Source]:
        """Yield every source once, sorted by key, without opening any; count others in `passed_over`.

        Raises:
            RunError: a directory cannot be listed.
        """

    def may_split(self, source: Source) -> bool:
        """Tell, from its size alone, whether a source may be worth splitting into spans."""

    def spans(self, source: Source, alive: Callable[[], None]) -> tuple[Span, ...]:
        """Return the parts in which a source is best read, in order; none if it is read as a whole.

        `alive` is called often: it may take long, but nothing hangs.
        """

    def read(
        self,
        key: str,
        min_side: int | None,
        span: Span | None,
        counts: FrameCounts | None,
        alive: Callable[[], None],
    ) -> Iterator[Item]:
        """Decode one source, or the part of it that is one of its `spans`.

        With `min_side`, frames may come smaller, as long as their shorter side keeps this many pixels; then
        `Item.whole` says how large the image is. `counts` are kept up to date. `alive` is called often
        between two items: there may be much to read, but nothing hangs.

        Raises:
            SourceError: it cannot be read, or not to its end; the items before the damage have been given.
        """


@dataclass(frozen=True)
class FileReader:
    """Lists the files that a job names: `entries`, absolute paths and patterns, all below `root`."""

    extensions: ClassVar[frozenset[str]]
    """Of the files that are taken from a directory. What is in a file is told from its content alone."""

    root: Path
    entries: tuple[Path, ...]
    recursive: bool

    @property
    def reach(self) -> Reach:
        """Which files it might list."""
        return Reach(self.entries, self.recursive, self.extensions)

    def list_sources(self, passed_over: PassedOver | None = None) -> Iterator[Source]:
        """See `Reader.list_sources`."""
        return list_files(self.entries, self.recursive, self.extensions, passed_over)


@dataclass(frozen=True)
class Reach:
    """Where a reader looks, as `listing.list_files` is told: which files it might come to, there or not.

    Real paths are compared: a link to a directory and the directory itself are one. Links further below, on
    the way of a listing, are not seen.
    """

    entries: Sequence[Path]
    recursive: bool
    extensions: frozenset[str]

    def holds(self, path: Path) -> bool:
        """Tell whether a file of this path would be listed; an entry is, whatever it is called."""
        if path.exists() and any(path.samefile(file) for file in self.files()):
            return True
        return path.suffix.lower() in self.extensions and any(
            () in advance(self._left(entry, path.parent), path.name, True) for entry in self.entries
        )

    def files(self) -> Iterator[Path]:
        """Yield the entries that are files."""
        return (entry for entry in self.entries if not split(entry)[1] and not entry.is_dir())

    def may_hold_below(self, folder: Path, suffix: str) -> bool:
        """Tell whether a file with a suffix and any name might be listed, somewhere below a folder."""
        return suffix in self.extensions and any(
            not pattern or _may_end(pattern[-1], suffix)
            for entry in self.entries
            for pattern in self._left(entry, folder) | self._inside(entry, folder)
        )

    def _left(self, entry: Path, folder: Path) -> frozenset[Pattern]:
        """Return what an entry looks for in a folder that is below the directory it starts from."""
        start, pattern = split(entry)
        start, folder = start.resolve(), folder.resolve()
        if not start.is_dir() or not folder.is_relative_to(start):
            return frozenset()
        wanted = frozenset([pattern])
        for name in folder.relative_to(start).parts:
            wanted = advance(wanted, name, self.recursive)
        return wanted

    def _inside(self, entry: Path, folder: Path) -> frozenset[Pattern]:
        """Return what an entry looks for if the directory it starts from is itself below a folder."""
        start, pattern = split(entry)
        is_below = start.is_dir() and start.resolve().is_relative_to(folder.resolve())
        return frozenset([pattern]) if is_below else frozenset()


def _may_end(segment: str, suffix: str) -> bool:
    """Tell whether some name that a segment of a pattern matches ends in a suffix."""
    for sign in reversed(_SIGNS.findall(segment)):
        if not suffix or sign == "*":
            return True
        if not fnmatchcase(suffix[-1], sign):
            return False
        suffix = suffix[:-1]
    return not suffix
