"""What a process reads of archives: one archive after the other, the last of which stays open."""

from __future__ import annotations

from collections.abc import Iterable

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.archives.container import Container
from resnet_pipe.reader.archives.decompress import Alive
from resnet_pipe.reader.archives.scan import SPARSE, Member
from resnet_pipe.reader.files import Containers

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

    def announce(self, containers: Containers, key: str) -> None:
        """Have a member read ahead: it will be read soon."""
        self._upcoming[key] = None
        if self._container is not None and containers == self._containers and not self._container.is_stream:
            for member in self._members([key], self._container):
                self._container.announce(member)

    def read(self, containers: Containers, key: str, alive: Alive) -> bytes:
        """Return all bytes of a member; see `Files.read`.

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
        upcoming = []
        if container.is_stream and not container.index.in_order:
            upcoming = self._members(self._upcoming, container)
        return container.read(member, upcoming, alive)

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
            self._container = None
