"""Which files a reader might list, whether they are there or not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from resnet_pipe.reader.listing import Pattern, advance, split

_SIGNS = re.compile(r"\[!?\]?[^\]]*\]|.", re.DOTALL)
"""The parts of a segment of a glob pattern, each of which stands for one character, but for `*`."""


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
        return path.name.lower().endswith(tuple(self.extensions)) and any(
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
