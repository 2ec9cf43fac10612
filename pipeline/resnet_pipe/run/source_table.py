"""Many sources in little memory: a job may have a million of them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

from resnet_pipe.reader.source import Carried, Source

_NS = 1_000_000_000


class SourceTable:
    """Sources in a fifth of the memory that objects would take: a job may have a million of them.

    Seconds and nanoseconds are apart: a file system may date a file to any year, and nanoseconds since 1970
    fill 64 bits in 2262.
    """

    def __init__(self, sources: Iterable[Source] = ()) -> None:
        self._keys = bytearray()
        self._ends = array("q")
        self._sizes = array("q")
        self._seconds = array("q")
        self._nanoseconds = array("I")
        self._carried = bytearray()
        self._carried_ends = array("q")
        """Of what comes with them, as JSON; up to the last source of which listing has told."""
        for source in sources:
            self.append(source)

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def bytes(self) -> int:
        """How many all of them have together."""
        return sum(self._sizes)

    def append(self, source: Source) -> None:
        """Add a source at the end."""
        self._keys += source.key.encode()
        self._ends.append(len(self._keys))
        self._sizes.append(source.size)
        seconds, nanoseconds = divmod(source.version, _NS)
        self._seconds.append(seconds)
        self._nanoseconds.append(nanoseconds)
        if source.carried is not None:
            before = len(self._ends) - 1 - len(self._carried_ends)
            self._carried_ends.extend([len(self._carried)] * before)
            self._carried += source.carried.to_text().encode()
            self._carried_ends.append(len(self._carried))

    def __iter__(self) -> Iterator[Source]:
        carried, start = self._all_carried(), 0
        columns = (self._ends, self._sizes, self._seconds, self._nanoseconds)
        for end, size, seconds, nanoseconds in zip(*columns, strict=True):
            key, version = self._keys[start:end].decode(), seconds * _NS + nanoseconds
            yield Source(key, size, version, next(carried, None))
            start = end

    def _all_carried(self) -> Iterator[Carried | None]:
        start = 0
        for end in self._carried_ends:
            yield Carried.of_text(self._carried[start:end].decode()) if end > start else None
            start = end
