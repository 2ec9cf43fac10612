"""Sources that are inside other files: how they are listed, told apart when these change, and unpacked."""

from __future__ import annotations

import heapq
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.files import Containers
from resnet_pipe.reader.reach import Reach
from resnet_pipe.reader.source import Source
from resnet_pipe.store.address import Address

UNPACKED_BYTES = 4 << 30
"""A larger sample is not unpacked, nor one that takes more than a quarter of what is free on the disk."""


@dataclass(frozen=True)
class Packed:
    """What `Files` inside of `containers` have in common; the extensions are those of the files inside."""

    containers: Containers
    extensions: frozenset[str]

    @property
    def root(self) -> Path | Address:
        """See `Files.root`."""
        return self.containers.root

    @property
    def reach(self) -> Reach:
        """See `Files.reach`: which containers it might list."""
        return self.containers.reach

    def empty_places(self) -> Iterator[tuple[str, str]]:
        """See `Files.empty_places`."""
        return self.containers.empty_places()

    def is_gone(self) -> bool:
        """See `Files.is_gone`."""
        return self.containers.is_gone()


def list_packed(
    containers: Iterable[Source], members: Callable[[Source], Iterator[Source]]
) -> Iterator[Source]:
    """Yield what is in containers, sorted by key; these are sorted, and so are the members of each."""
    for group in _overlapping(containers):
        yield from heapq.merge(*map(members, group))


def unpack(
    sources: Sequence[Source],
    folder: Path,
    read: Callable[[str], bytes],
    extension: Callable[[str], str],
    announce: Callable[[str], None] = lambda key: None,
) -> list[Path]:
    """Write sources into a folder, as files with the extensions of their keys; see `Files.as_files`.

    Evenly spread, they have about as many bytes as there is room for; where their sizes are not known before,
    those that come first do. They are announced before they are read.
    """
    if not sources:
        return []
    most, chosen = room_in(folder), spread(sources, folder)
    for source in chosen:
        announce(source.key)
    paths: list[Path] = []
    written = 0
    for number, source in enumerate(chosen):
        if written >= most and not source.size:
            break
        paths.append(folder / f"{number:06d}{extension(source.key)}")
        try:
            written += paths[-1].write_bytes(read(source.key))
        except SourceError:
            paths[-1].touch()
    return paths


def room_in(folder: Path) -> int:
    """Return how many bytes a sample in a folder may have."""
    return min(UNPACKED_BYTES, shutil.disk_usage(folder).free // 4)


def spread(sources: Sequence[Source], folder: Path) -> Sequence[Source]:
    """Return sources, evenly spread over all, with about as many bytes as there is room for; at least one."""
    every = -(-sum(source.size for source in sources) // max(1, room_in(folder)))
    return sources[:: max(1, every)]


def _overlapping(containers: Iterable[Source]) -> Iterator[list[Source]]:
    """Group containers, which are sorted, so that all keys of a group come before those of the next one.

    `a.tar.gz/b.jpg` comes before `a.tar/b.jpg`, because a dot comes before a slash.
    """
    group: list[Source] = []
    for container in containers:
        if group and not container.key.startswith(group[0].key):
            yield group
            group = []
        group.append(container)
    if group:
        yield group
