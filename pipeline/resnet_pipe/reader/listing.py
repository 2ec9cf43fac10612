"""List the files that a job names: directories, files and glob patterns, in one stable order."""

from __future__ import annotations

import heapq
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from resnet_pipe.errors import RunError
from resnet_pipe.reader.source import Source
from resnet_pipe.store.names import key_of, path_of

Pattern = tuple[str, ...]
"""What is left to match, one part per path segment. The empty pattern stands for everything below."""
_BELOW: frozenset[Pattern] = frozenset([()])

_Found = tuple[str, Source | None]
"""A key, and its source; None for a file that is passed over."""

_SHOWN = 5
_KINDS = 1000
"""At most this many extensions are counted separately: files may be called `frame.000001` and so on."""


class _Directory(NamedTuple):
    """A directory in the middle of being listed.

    `prefix` is its key and a slash, empty for the root. `names` are relative to it; a directory's ends in a
    slash. `wanted` is what to match below each subdirectory, `identity` is (device, inode).
    """

    prefix: str
    names: Iterator[str]
    wanted: dict[str, frozenset[Pattern]]
    identity: tuple[int, int]


class PassedOver:
    """Files that a listing passes over because of their extension, counted by extension."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._others = 0

    def add(self, key: str) -> None:
        """Count a file."""
        kind = extension_of(key)
        if kind in self._counts or len(self._counts) < _KINDS:
            self._counts[kind] += 1
        else:
            self._others += 1

    def __bool__(self) -> bool:
        return bool(self._counts)

    def to_json(self) -> dict[str, int]:
        """Return the most frequent extensions with their counts, and all others as `others`."""
        shown = sorted(self._counts.items(), key=lambda kind: (-kind[1], kind[0]))[:_SHOWN]
        others = self._counts.total() + self._others - sum(count for _, count in shown)
        return {**dict(shown), **({"others": others} if others else {})}

    def describe(self) -> str:
        """Return it in words, such as `passed over 312 .psd, 4 .txt and 7 others`; empty for no files."""
        counts = self.to_json()
        others = counts.pop("others", 0)
        kinds = [f"{count} {kind or 'without an extension'}" for kind, count in counts.items()]
        if not kinds:
            return ""
        return f"passed over {', '.join(kinds)}{f' and {others} others' if others else ''}"


def check_entry(entry: Path) -> Path:
    """Return an absolute path or a glob pattern as it is, or raise `ValueError` if it names nothing.

    A pattern only needs the directory it starts from.
    """
    start, _ = split(entry)
    if not start.exists():
        raise ValueError(f"no such file or directory: {start}")
    return entry


def root_of(entries: Sequence[Path]) -> Path:
    """Return the directory that the keys of all entries (at least one absolute path) start from.

    That of a directory is itself, that of a file is its parent, and that of a glob pattern is what comes
    before the first segment with a wildcard. Several entries share their deepest common parent.
    """
    starts = (split(entry)[0] for entry in entries)
    return Path(os.path.commonpath([start if start.is_dir() else start.parent for start in starts]))


def list_files(
    entries: Sequence[Path],
    recursive: bool,
    extensions: frozenset[str],
    passed_over: PassedOver | None = None,
) -> Iterator[Source]:
    """Yield each file once, sorted by key as `sorted()` sorts strings, however the entries overlap.

    An entry is an absolute path: a directory stands for the files in it, with `recursive` also for those in
    its subdirectories; a file for itself whatever its extension; a glob pattern (`*`, `?`, `[...]`, and `**`
    for any number of directories) for the files and directories it matches. A path that exists is never taken
    for a pattern. Extensions are lower case, with the dot; `passed_over` counts, while listing, the files
    that have others.

    Names that begin with a dot are left out unless an entry spells out the dot. Symbolic links are followed,
    and one that leads back to a directory around it is left out. What cannot be opened as a file (a broken
    link, a pipe) is listed all the same: whoever reads it reports it. Memory grows with the largest
    directory, not with the number of files.

    Raises:
        RunError: an entry is gone, or a directory cannot be listed: leaving it out would lose sources.
    """
    root = root_of(entries)
    listings = (_list_entry(root, entry, recursive, extensions) for entry in entries)
    previous = None
    # What one entry passes over, another may name.
    for key, source in heapq.merge(*listings, key=lambda found: (found[0], found[1] is None)):
        if key == previous:
            continue
        previous = key
        if source is not None:
            yield source
        elif passed_over is not None:
            passed_over.add(key)


def empty_places(root: Path, entries: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Yield the directories that entries, or their keys, start from and that are empty; see `Files`."""
    for start in {root, *(split(entry)[0] for entry in entries)}:
        if start.is_relative_to(root) and start.is_dir() and not has_entries(start, hidden=False):
            yield str(start), "" if start == root else f"{key_of(str(start.relative_to(root)))}/"


def has_entries(directory: Path, hidden: bool = True) -> bool:
    """Tell whether there is anything in a directory, `hidden` names included, which no reader takes.

    There is nothing where it cannot be listed.
    """
    try:
        with os.scandir(directory) as entries:
            return any(hidden or not entry.name.startswith(".") for entry in entries)
    except OSError:
        return False


def split(entry: Path) -> tuple[Path, Pattern]:
    """Return an existing path and `()`, or the directory that a glob pattern starts from and the pattern."""
    magic = (index for index, part in enumerate(entry.parts) if any(sign in part for sign in "*?["))
    first = next(magic, None)
    if first is None or os.path.lexists(entry):
        return entry, ()
    return Path(*entry.parts[:first]), entry.parts[first:]


def _list_entry(root: Path, entry: Path, recursive: bool, extensions: frozenset[str]) -> Iterator[_Found]:
    start, pattern = split(entry)
    if not os.path.lexists(start):
        raise RunError(f"{start} no longer exists", "correct reader.path in the job")
    key = key_of(str(start.relative_to(root)))
    if pattern or start.is_dir():
        prefix = "" if start == root else f"{key}/"
        yield from _walk(root, prefix, frozenset([pattern]), recursive, extensions)
    elif source := _identify(str(root), key):
        yield key, source


def _walk(
    root: Path, prefix: str, wanted: frozenset[Pattern], recursive: bool, extensions: frozenset[str]
) -> Iterator[_Found]:
    """Yield the wanted files below `prefix`, in order.

    The order is that of whole keys because a directory is sorted among its siblings under its name *and
    the slash*: `a-b/c.jpg`, `a.jpg` and `a/b.jpg` come in this order. A stack, not recursion: a tree may
    be deeper than Python's stack.
    """
    stack, endings, top = [_scan(root, prefix, wanted, recursive)], tuple(extensions), str(root)
    while stack:
        here = stack[-1]
        prefix, directories = here.prefix, here.wanted
        for name in here.names:
            key = prefix + name
            if name in directories:
                below = _scan(root, key, directories[name], recursive)
                if not any(_is_same(root, below, above) for above in stack):
                    stack.append(below)
                    break
            elif not name.lower().endswith(endings):
                yield key, None
            elif source := _identify(top, key):
                yield key, source
        else:
            stack.pop()


def extension_of(name: str) -> str:
    """Return the extension of a name or a key, in lower case and with the dot; empty if there is none."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - for each of a million files


def _is_same(root: Path, one: _Directory, other: _Directory) -> bool:
    """Return whether two directories are the same. Some file systems give all of them one inode."""
    return one.identity == other.identity and os.path.realpath(path_of(root, one.prefix)) == os.path.realpath(
        path_of(root, other.prefix)
    )


def _scan(root: Path, prefix: str, wanted: frozenset[Pattern], recursive: bool) -> _Directory:
    path = path_of(root, prefix)
    names: list[str] = []
    directories: dict[str, frozenset[Pattern]] = {}
    try:
        status = path.stat()
        with os.scandir(path) as entries:
            for entry in entries:
                is_directory = _is_directory(entry)
                matches = advance(wanted, entry.name, recursive or not is_directory)
                if is_directory and matches:
                    name = key_of(entry.name) + "/"
                    directories[name] = matches
                    names.append(name)
                elif () in matches:
                    names.append(key_of(entry.name))
    except OSError as error:
        raise RunError(
            f"{path} cannot be listed: {error.strerror}",
            "make it readable for the user who runs the job, or exclude it from reader.path",
        ) from None
    names.sort()
    return _Directory(prefix, iter(names), directories, (status.st_dev, status.st_ino))


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except PermissionError:
        raise  # a link into a place we may not look at might be a directory full of sources
    except OSError:
        return False  # a link to itself


def advance(wanted: frozenset[Pattern], name: str, everything: bool) -> frozenset[Pattern]:
    """Return what is wanted below `name`; it holds the empty pattern if `name` itself is wanted.

    The first part of each pattern is matched. With `everything`, the empty pattern goes on below `name`.
    """
    hidden = name.startswith(".")
    if wanted == _BELOW:  # of nearly all of a million files
        return wanted if everything and not hidden else frozenset()
    below: set[Pattern] = set()
    for pattern in wanted:
        if not pattern:
            if everything and not hidden:
                below.add(())
        elif pattern[0] == "**":
            below |= advance(frozenset([pattern[1:]]), name, everything)
            if not hidden:
                below.add(pattern)
        elif fnmatchcase(name, pattern[0]) and (pattern[0].startswith(".") or not hidden):
            below.add(pattern[1:])
    return frozenset(below)


def _identify(root: str, key: str) -> Source | None:
    """Return the source of a key, or None if the file is no longer there."""
    # For each of a million files: a Path would take as long as the rest of this.
    path = f"{root}/{key}" if "\\" not in key else str(path_of(Path(root), key))
    try:
        try:
            status = os.stat(path)  # noqa: PTH116
        except OSError:
            status = os.lstat(path)  # a broken link
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunError(
            f"{path} cannot be examined: {error.strerror}",
            "make its directory searchable for the user who runs the job (chmod +x)",
        ) from None
    # Without size and version it would be one that a manifest only names: `Source.is_absent`.
    return Source(key, status.st_size, status.st_mtime_ns or int(not status.st_size))
