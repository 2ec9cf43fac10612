"""One tar file, open, with its index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.archives import cache
from resnet_pipe.reader.archives.decompress import Alive
from resnet_pipe.reader.archives.index import Index
from resnet_pipe.reader.archives.scan import Member, scan
from resnet_pipe.reader.archives.tape import open_tape

_AHEAD_BYTES = 64 << 20
"""Of members that are kept in memory because they were passed on the way to another one."""


class Container:
    """A tar file. Opening it may raise what `open_file` does, and `unreadable`.

    Attributes:
        size: of the file, bytes.
        modified: when, ns since 1970.
        index: of what is in it; what is wrong with it is in there.
    """

    def __init__(self, path: Path, alive: Alive = lambda: None) -> None:
        self._path = path
        self._tape, state = open_tape(path)
        self.size, self.modified = state.st_size, state.st_mtime_ns
        self._stamp = cache.stamp(path, state)
        self._at = 0
        """Where the last read has ended."""
        self._passed: dict[str, bytes] = {}
        try:
            saved = cache.load(path, self._stamp)
            self.index = saved or Index.of(scan(self._tape, alive))
        except BaseException:
            self._tape.close()
            raise
        if saved is None:
            cache.save(path, self._stamp, self.index)

    @property
    def is_stream(self) -> bool:
        """Whether it is compressed, so that its members can only be read one after the other."""
        return self._tape.forwards

    def is_current(self) -> bool:
        """Tell whether the file is still the one that was opened."""
        try:
            return cache.stamp(self._path, self._path.stat()) == self._stamp
        except OSError:
            return False

    def announce(self, member: Member) -> None:
        """Have a member read ahead, if it can be."""
        self._tape.announce(member.offset, member.size)

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
        self._at = member.offset + len(data)
        if len(data) < member.size:
            raise SourceError("reader", "truncated", f"{member.size - len(data)} bytes of it are missing")
        return data

    def close(self) -> None:
        """Close the file."""
        self._tape.close()

    def __enter__(self) -> Container:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
