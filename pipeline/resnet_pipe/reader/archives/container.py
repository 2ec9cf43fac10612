"""One tar file, open, with its index."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.archives import cache
from resnet_pipe.reader.archives.decompress import Alive
from resnet_pipe.reader.archives.index import Index
from resnet_pipe.reader.archives.scan import Member, scan
from resnet_pipe.reader.archives.tape import tape_of
from resnet_pipe.reader.opened import Opened

_AHEAD_BYTES = 64 << 20
"""Of members that are kept in memory because they were passed on the way to another one."""


def index_of(opened: Opened, alive: Alive = lambda: None) -> Index:
    """Return the index of a tar file, which is read only if none was saved; may raise `unreadable`."""
    index = cache.load(opened)
    if index is None:
        index = Index.of(scan(tape_of(opened, alive), alive))
        cache.save(opened, index)
    return index


class Container:
    """A tar file. Looking into it may raise `unreadable`.

    Attributes:
        index: of what is in it; what is wrong with it is in there.
    """

    def __init__(self, opened: Opened, alive: Alive = lambda: None) -> None:
        """Look into a file, and have it closed with this."""
        self._opened = opened
        self._at = 0
        """Where the last read has ended."""
        self._passed: dict[str, bytes] = {}
        try:
            self.index = index_of(opened, alive)
            self._tape = tape_of(opened, alive)
        except BaseException:
            opened.close()
            raise

    @property
    def is_stream(self) -> bool:
        """Whether it is compressed, so that its members can only be read one after the other."""
        return self._tape.forwards

    def is_current(self) -> bool:
        """Tell whether the file is still the one that was opened."""
        return self._opened.is_current()

    def announce(self, member: Member) -> None:
        """Have a member read ahead, if it can be."""
        self._opened.announce(member.offset, member.size)

    def read(self, member: Member, upcoming: Sequence[Member], alive: Alive) -> bytes:
        """Return the bytes of a member, none of which may be missing.

        Of a stream, those members of the upcoming ones that are passed on the way are kept for later.
        """
        data = self._passed.pop(member.name, None)
        if data is not None:
            return data
        wanted = {other.name for other in upcoming}  # what an image that failed has left is not any more
        self._passed = {name: data for name, data in self._passed.items() if name in wanted}
        begin = self._at if member.offset >= self._at else 0
        for other in sorted(upcoming, key=lambda one: one.offset):
            room = _AHEAD_BYTES - sum(map(len, self._passed.values()))
            if begin <= other.offset < member.offset and other.size <= room:
                self._passed[other.name] = self._bytes_of(other, alive)
        return self._bytes_of(member, alive)

    def _bytes_of(self, member: Member, alive: Alive) -> bytes:
        data = self._tape.read_at(member.offset, member.size, alive)
        if not self.is_stream:
            self._opened.let_go(member.offset, member.size)
        self._at = member.offset + len(data)
        if len(data) < member.size:
            raise SourceError("reader", "truncated", f"{member.size - len(data)} bytes of it are missing")
        return data

    def close(self) -> None:
        """Close the file."""
        self._opened.close()

    def __enter__(self) -> Container:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
