"""What a process reads of archives: one archive after the other, the last of which stays open."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.archives.container import Container
from resnet_pipe.reader.archives.decompress import Alive
from resnet_pipe.reader.archives.index import NUMBER
from resnet_pipe.reader.archives.scan import SPARSE, Member
from resnet_pipe.reader.carried import MAX_BYTES as CARRIED_BYTES
from resnet_pipe.reader.carried import carried, too_long
from resnet_pipe.reader.files import Containers
from resnet_pipe.reader.source import Carried

MAX_BYTES = 1 << 30
"""A larger member is not read: it would have more than the most pixels of a picture, of 48 bits each."""


class Drive:
    """Reads members by their keys in containers, best in the order in which these were announced."""

    def __init__(self) -> None:
        self._container: Container | None = None
        self._prefix = ""
        """With which the keys of the members of the open archive begin: its own key and a slash."""
        self._containers: Containers | None = None
        self._upcoming: dict[str, None] = {}
        """Keys that were announced, and have not been read."""
        self._told: tuple[str, Sequence[str], Carried] | None = None
        """What has come last with images of the open archive: what tells which, which columns, and these."""

    def announce(self, containers: Containers, key: str) -> None:
        """Have a member read ahead: it will be read soon."""
        self._upcoming[key] = None
        if self._container is not None and containers == self._containers and not self._container.is_stream:
            for member in self._members([key], self._container):
                self._container.announce(member)

    def read(self, containers: Containers, key: str, alive: Alive, columns: Sequence[str] = ()) -> bytes:
        """Return all bytes of a member; see `Files.read`. `carried` will be asked for these columns.

        Raises:
            SourceError: also `unsupported`, or of an archive itself what is wrong with it.
        """
        self._upcoming.pop(key, None)
        container = self._opened(containers, key, alive)
        name = key[len(self._prefix) :]
        if not name:
            text = "it could not be read when the sources were listed"
            raise container.index.problem or SourceError("reader", "unreadable", text)
        member = container.index.find(name)
        if member is None:
            raise SourceError("reader", "missing", "no such file in the archive")
        if member.offset == SPARSE:
            raise SourceError("reader", "unsupported", "a file with holes (sparse) in a tar file")
        if member.size > MAX_BYTES:
            raise SourceError("reader", "too_large", f"{member.size} bytes: more than {MAX_BYTES}")
        if not member.size:
            raise SourceError("reader", "empty", "the file is empty")
        return container.read(member, self._on_the_way(key, columns, container), alive)

    def carried(self, containers: Containers, key: str, columns: Sequence[str], alive: Alive) -> Carried:
        """Return what comes with a member that was read last: see `Files.carried`."""
        container = self._opened(containers, key, alive)
        first = _beside(key, columns[0])
        if self._told is not None and self._told[:2] == (first, columns):
            return self._told[2]  # of an image with the same stem; a stream would have to go back for it

        def value(column: str) -> bytes | None:
            member = container.index.find(_beside(key, column)[len(self._prefix) :])
            if member is None:
                return None
            if member.offset == SPARSE:
                raise ValueError("a file with holes (sparse)")
            if member.size > CARRIED_BYTES:
                raise ValueError(too_long(member.size))
            if not member.size:
                return b""
            return container.read(member, self._on_the_way(key, columns, container), alive)

        found = carried(columns, value)
        self._told = first, columns, found
        return found

    def _on_the_way(self, key: str, columns: Sequence[str], container: Container) -> list[Member]:
        """Return what a stream should keep if it passes it on the way to a member, or what comes with it."""
        if not container.is_stream:
            return []
        images: Iterable[str] = self._upcoming
        if container.index.in_order:  # what is between an image and what comes with it begins like both
            begin = f"{_stem(key)}."
            images = [one for one in images if one.startswith(begin)] if columns else []
        wanted = self._members(images, container)
        beside = dict.fromkeys(_beside(one, column) for one in (key, *images) for column in columns)
        texts = self._members(beside, container)
        return list(dict.fromkeys([*wanted, *(text for text in texts if text.size <= CARRIED_BYTES)]))

    def _members(self, keys: Iterable[str], container: Container) -> list[Member]:
        """Return the members of the open archive that some keys are of, and that can be read."""
        names = (key[len(self._prefix) :] for key in keys if key.startswith(self._prefix))
        found = (container.index.find(name) for name in names)
        return [one for one in found if one is not None and one.offset != SPARSE and one.size <= MAX_BYTES]

    def _opened(self, containers: Containers, key: str, alive: Alive) -> Container:
        """Return the archive that a key is in, or of; open it if it is another one, or has changed."""
        container = self._container
        if container is not None:
            is_same = containers == self._containers and f"{key}/".startswith(self._prefix)
            if is_same and container.is_current():
                return container
        self.close()
        archive = containers.holder_of(key, alive)
        self._container = Container(containers.open(archive, alive), alive)
        self._containers, self._prefix = containers, f"{archive}/"
        if not self._container.is_stream:
            for member in self._members([key, *self._upcoming], self._container):
                self._container.announce(member)
        return self._container

    def close(self) -> None:
        """Close the archive that is open."""
        if self._container is not None:
            self._container.close()
            self._container = self._told = None


def _beside(key: str, column: str) -> str:
    """Return the key of what comes with an image as a column: with `a.jpg#2`, `a.txt#2`."""
    number = NUMBER.search(key)
    return f"{_stem(key)}.{column}{number[0] if number else ''}"


def _stem(key: str) -> str:
    """Return a key up to the first dot of the name: what an image has in common with what comes with it."""
    folder, slash, name = key.rpartition("/")
    return f"{folder}{slash}{name.partition('.')[0]}"
