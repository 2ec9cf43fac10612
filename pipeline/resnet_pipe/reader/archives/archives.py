"""The members of archives as sources: `shards/000.tar/pictures/000123.jpg`."""

from __future__ import annotations

import hashlib
import heapq
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.archives.container import Container
from resnet_pipe.reader.archives.decompress import Alive
from resnet_pipe.reader.archives.drive import Drive
from resnet_pipe.reader.files import Folder
from resnet_pipe.reader.listing import PassedOver, extension_of
from resnet_pipe.reader.reach import Reach
from resnet_pipe.reader.source import Source
from resnet_pipe.store.names import path_of

EXTENSIONS = frozenset([".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst"])
"""Of the files that are archives."""
UNPACKED_BYTES = 4 << 30
"""A larger sample is not unpacked."""
_NUMBER = re.compile(r"(?:#\d+)+\Z")
"""The end of a name that is repeated in an archive."""
drive = Drive()
"""That of this process."""


@dataclass(frozen=True)
class Archives:
    """The members of tar files that have one of some extensions, lower case and with the dot.

    Names that begin with a dot are left out, as in a folder.
    """

    containers: Folder
    extensions: frozenset[str]

    @property
    def root(self) -> Path:
        """See `Files.root`."""
        return self.containers.root

    @property
    def reach(self) -> Reach:
        """See `Files.reach`: which archives it might list."""
        return self.containers.reach

    def list_sources(self, passed_over: PassedOver | None = None) -> Iterator[Source]:
        """See `Files.list_sources`. An archive that is not whole is a source as well, by its own key."""
        for group in _overlapping(self.containers.list_sources(passed_over)):
            yield from heapq.merge(*(self._members(archive, passed_over) for archive in group))

    def _members(self, archive: Source, passed_over: PassedOver | None) -> Iterator[Source]:
        try:
            with Container(path_of(self.root, archive.key)) as container:
                size, modified, index = container.size, container.modified, container.index
        except SourceError:  # which reading it will tell
            yield archive._replace(version=_version(archive.size, archive.version, 0))
            return
        if index.problem is not None:
            yield Source(archive.key, size, _version(size, modified, 0))
        for member in index:
            key = f"{archive.key}/{member.name}"
            if "/." in key[len(archive.key) :]:
                continue
            name = _NUMBER.sub("", member.name)
            if extension_of(name) in self.extensions:
                yield Source(key, member.size, _version(size, modified, member.offset))
            elif passed_over is not None:
                passed_over.add(name)

    def announce(self, key: str) -> None:
        """See `Files.announce`."""
        drive.announce(self.root, key)

    def read(self, key: str, alive: Alive) -> bytes:
        """See `Files.read`, and `Drive.read`."""
        return drive.read(self.root, key, alive)

    def as_files(self, sources: Sequence[Source], folder: Path, alive: Alive) -> list[Path]:
        """See `Files.as_files`; those that are made, evenly spread, have about `UNPACKED_BYTES`."""
        every = -(-sum(source.size for source in sources) // UNPACKED_BYTES)
        paths = []
        with closing(Drive()) as own:
            for number, source in enumerate(sources[:: max(1, every)]):
                paths.append(folder / f"{number:06d}{extension_of(_NUMBER.sub('', source.key))}")
                try:
                    paths[-1].write_bytes(own.read(self.root, source.key, alive))
                except SourceError:
                    paths[-1].touch()
        return paths


def _overlapping(archives: Iterable[Source]) -> Iterator[list[Source]]:
    """Group archives, which are sorted, so that all keys of a group come before those of the next one.

    `a.tar.gz/b.jpg` comes before `a.tar/b.jpg`, because a dot comes before a slash.
    """
    group: list[Source] = []
    for archive in archives:
        if group and not archive.key.startswith(group[0].key):
            yield group
            group = []
        group.append(archive)
    if group:
        yield group


def _version(size: int, modified: int, offset: int) -> int:
    """Return 63 bits that change with an archive, its size and time, and with where a member begins in it."""
    digest = hashlib.sha256(f"{size} {modified} {offset}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
