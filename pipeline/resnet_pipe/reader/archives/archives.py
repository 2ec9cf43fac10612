"""The members of archives as sources: `shards/000.tar/pictures/000123.jpg`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.archives.container import index_of
from resnet_pipe.reader.archives.decompress import Alive
from resnet_pipe.reader.archives.drive import Drive
from resnet_pipe.reader.archives.index import NUMBER
from resnet_pipe.reader.listing import PassedOver, extension_of
from resnet_pipe.reader.packed import Packed, list_packed, unpack
from resnet_pipe.reader.source import NOTHING, Carried, Source, version_of

EXTENSIONS = frozenset([".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst"])
"""Of the files that are archives."""
drive = Drive()
"""That of this process."""


@dataclass(frozen=True)
class Archives(Packed):
    """The members of tar files that have one of some extensions, lower case and with the dot.

    Names that begin with a dot are left out, as in a folder. `carry` are the columns of what comes with a
    member: what another one holds that is called like it up to the first dot, and ends in the column's name.
    """

    carry: tuple[str, ...] = ()

    def list_sources(self, passed_over: PassedOver | None = None) -> Iterator[Source]:
        """See `Files.list_sources`. An archive that is not whole is a source as well, by its own key."""
        archives = self.containers.list_sources(passed_over)
        yield from list_packed(archives, lambda archive: self._members(archive, passed_over))

    def _members(self, archive: Source, passed_over: PassedOver | None) -> Iterator[Source]:
        try:
            with closing(self.containers.open(archive.key, listed=archive)) as opened:
                size, version, index = opened.size, opened.version, index_of(opened)
        except SourceError:  # which reading it will tell
            yield archive._replace(version=version_of(archive.size, archive.version, 0))
            return
        if index.problem is not None:
            yield Source(archive.key, size, version_of(size, version, 0))
        for member in index:
            key = f"{archive.key}/{member.name}"
            if "/." in key[len(archive.key) :]:
                continue
            name = NUMBER.sub("", member.name)
            if extension_of(name) in self.extensions:
                yield Source(key, member.size, version_of(size, version, member.offset))
            elif passed_over is not None and _ending(name) not in self.carry:
                passed_over.add(name)

    def announce(self, key: str) -> None:
        """See `Files.announce`."""
        drive.announce(self.containers, key)

    def read(self, key: str, alive: Alive) -> bytes:
        """See `Files.read`, and `Drive.read`."""
        return drive.read(self.containers, key, alive, self.carry)

    def carried(self, key: str, alive: Alive) -> Carried:
        """See `Files.carried`."""
        return drive.carried(self.containers, key, self.carry, alive) if self.carry else NOTHING

    def as_files(self, sources: Sequence[Source], folder: Path, alive: Alive) -> list[Path]:
        """See `Files.as_files`."""
        with closing(Drive()) as own:
            return unpack(
                sources,
                folder,
                lambda key: own.read(self.containers, key, alive),
                lambda key: extension_of(NUMBER.sub("", key)),
            )


def _ending(name: str) -> str:
    """Return what comes after the first dot of the last part of a name."""
    return name.rpartition("/")[2].partition(".")[2]
