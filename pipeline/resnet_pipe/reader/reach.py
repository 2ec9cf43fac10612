"""Which files a reader might list, whether they are there or not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

from resnet_pipe.reader.buckets.entry import BucketEntry
from resnet_pipe.reader.listing import Pattern, advance, split
from resnet_pipe.store.address import Address

_SIGNS = re.compile(r"\[!?\]?[^\]]*\]|.", re.DOTALL)
"""The parts of a segment of a glob pattern, each of which stands for one character, but for `*`."""


class Reach(Protocol):
    """Where a reader looks: which files it might come to, whether they are there or not."""

    @property
    def extensions(self) -> frozenset[str]:
        """Of what it takes from a directory or a folder, lower case and with the dot."""

    def holds(self, path: Path) -> bool:
        """Tell whether a file of this path would be listed; an entry is, whatever it is called."""

    def files(self) -> Iterator[Path]:
        """Yield the entries that are files on a disk."""

    def may_hold_below(self, folder: Path | Address, suffix: str) -> bool:
        """Tell whether a file with a suffix and any name might be listed, somewhere below a folder."""


@dataclass(frozen=True)
class DiskReach:
    """A `Reach` on a disk, as `listing.list_files` is told.

    Real paths are compared: a link to a directory and the directory itself are one. Links further below, on
    the way of a listing, are not seen.
    """

    entries: Sequence[Path]
    recursive: bool
    extensions: frozenset[str]

    def holds(self, path: Path) -> bool:
        """See `Reach.holds`."""
        if path.exists() and any(path.samefile(file) for file in self.files()):
            return True
        return path.name.lower().endswith(tuple(self.extensions)) and any(
            () in advance(self._left(entry, path.parent), path.name, True) for entry in self.entries
        )

    def files(self) -> Iterator[Path]:
        """See `Reach.files`."""
        return (entry for entry in self.entries if not split(entry)[1] and not entry.is_dir())

    def may_hold_below(self, folder: Path | Address, suffix: str) -> bool:
        """See `Reach.may_hold_below`."""
        return (
            isinstance(folder, Path)
            and suffix in self.extensions
            and any(
                _may_match(pattern, suffix)
                for entry in self.entries
                for pattern in self._left(entry, folder) | self._inside(entry, folder)
            )
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


@dataclass(frozen=True)
class BucketReach:
    """A `Reach` in a bucket."""

    entries: Sequence[BucketEntry]
    recursive: bool
    extensions: frozenset[str]

    def holds(self, _path: Path) -> bool:
        """See `Reach.holds`: no file of a disk is in a bucket."""
        return False

    def files(self) -> Iterator[Path]:
        """See `Reach.files`: there are none."""
        return iter(())

    def may_hold_below(self, folder: Path | Address, suffix: str) -> bool:
        """See `Reach.may_hold_below`."""
        return isinstance(folder, Address) and any(self._may(entry, folder, suffix) for entry in self.entries)

    def _may(self, entry: BucketEntry, folder: Address, suffix: str) -> bool:
        below = _names_below(folder, entry.start)
        if entry.object:
            return _names_below(entry.start, folder) is not None and entry.object.lower().endswith(suffix)
        if suffix not in self.extensions:
            return False
        if below is None:
            inside = _names_below(entry.start, folder) is not None
            return inside and _may_match(entry.pattern, suffix)
        wanted = frozenset([entry.pattern])
        for name in below:
            wanted = advance(wanted, name, self.recursive)
        return any(_may_match(pattern, suffix) for pattern in wanted)


def _names_below(address: Address, start: Address) -> list[str] | None:
    """Return the names on the way from one address to another; None if it is not there or below it."""
    if address != start and not address.startswith(f"{start}/"):
        return None
    return address[len(start) + 1 :].split("/") if address != start else []


def _may_match(pattern: Pattern, suffix: str) -> bool:
    """Tell whether a pattern matches some name that ends in a suffix."""
    return not pattern or _may_end(pattern[-1], suffix)


def _may_end(segment: str, suffix: str) -> bool:
    """Tell whether some name that a segment of a pattern matches ends in a suffix."""
    for sign in reversed(_SIGNS.findall(segment)):
        if not suffix or sign == "*":
            return True
        if not fnmatchcase(suffix[-1], sign):
            return False
        suffix = suffix[:-1]
    return not suffix
