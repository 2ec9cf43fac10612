"""A remote file in large parts, which threads fetch ahead of who reads it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from resnet_pipe.reader.buckets.request import answer, started

_LEAST, _MOST = 64 << 10, 4 << 20
"""Bytes of a request: of the first one, and where it turns out that what follows is wanted, too."""
_GROWTH = 4
_NEAR = 1 << 20
"""Who goes on within so many bytes reads on: in the time of a request, as many are fetched."""
_GAP = 64 << 10
"""What is between two announced ranges, and fetched with them."""
_AHEAD_BYTES = 32 << 20
"""Of what was announced, and nobody has read."""
_AT_ONCE = 8
"""Requests for what was announced."""


@dataclass(eq=False)
class _Part:
    """Bytes from `start` to before `end`, which one request fetches once it has begun."""

    start: int
    end: int
    content: Future[bytes] | None = None

    def begin(self, fetch: Callable[[int, int], bytes]) -> Future[bytes]:
        if self.content is None:
            self.content = started(lambda: fetch(self.start, self.end - self.start))
        return self.content


class ReadAhead:
    """Reads a file that is fetched in parts.

    Ranges that were announced are fetched in that order, neighbours with one request, as far as there is room
    in memory. Of anything else, the more is fetched at once the longer reading goes on without a jump, and
    the next part while the last one is read.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        """Take what fetches a range, by its offset and size, all of which is there; and the file's size."""
        self._fetch = fetch
        self._size = size
        self._announced: deque[_Part] = deque()
        self._followed: deque[_Part] = deque()
        """What was read without being announced, and what comes after it."""
        self._request_bytes = _LEAST
        self._goes_on = False
        """Whether what was not announced was read without a jump."""
        self._reached = -_NEAR - 1
        """Where the last read has ended."""

    def announce(self, offset: int, size: int) -> None:
        """Have a range fetched before it is read; threads begin at the next read, when others are known."""
        end = min(offset + size, self._size)
        last = self._announced[-1] if self._announced else None
        while offset < end:
            if (
                last is None
                or last.content is not None
                or not last.end <= offset <= last.end + _GAP
                or offset >= last.start + _MOST
            ):
                last = _Part(offset, offset)
                self._announced.append(last)
            last.end = offset = min(end, last.start + _MOST)

    def read(self, offset: int, size: int, alive: Callable[[], None]) -> bytes:
        """Return so many bytes, or fewer at the end; `alive` is called while fetching takes long.

        It raises what fetching does; then, all will be fetched anew.
        """
        end = min(offset + size, self._size)
        self._forget_before(offset)
        found = []
        while offset < end:
            part = self._part(offset, end - offset)
            self._begin()
            try:
                content = answer(part.begin(self._fetch), alive)
            except BaseException:
                self.close()
                raise
            found.append(content[offset - part.start : end - part.start])
            self._reached = offset = min(end, part.end)
        return b"".join(found)

    def close(self) -> None:
        """Forget everything."""
        self._announced.clear()
        self._followed.clear()

    def _forget_before(self, offset: int) -> None:
        """Forget those parts that come before the one that is read now: reading goes on from there."""
        for parts in (self._announced, self._followed):
            if any(part.start <= offset < part.end for part in parts):
                while not parts[0].start <= offset < parts[0].end:
                    parts.popleft()
                break
        else:
            parts = self._announced
        if parts is self._announced:
            self._followed.clear()

    def _part(self, offset: int, size: int) -> _Part:
        """Return the part that an offset is in, of which so many bytes are wanted."""
        for part in (*self._announced, *self._followed):
            if part.start <= offset < part.end:
                break
        else:
            self._goes_on = abs(offset - self._reached) <= _NEAR
            part = self._follow(offset, min(size, _MOST))
        if self._goes_on and self._followed and part is self._followed[-1] and part.end < self._size:
            self._follow(part.end)
        return part

    def _follow(self, offset: int, least: int = 0) -> _Part:
        self._request_bytes = min(_GROWTH * self._request_bytes, _MOST) if self._goes_on else _LEAST
        part = _Part(offset, min(offset + max(self._request_bytes, least), self._size))
        self._followed.append(part)
        return part

    def _begin(self) -> None:
        """Have what comes next fetched."""
        for part in self._followed:
            part.begin(self._fetch)
        held = busy = 0
        for part in self._announced:
            held += part.end - part.start
            if busy >= _AT_ONCE or (part.content is None and held > _AHEAD_BYTES):
                break
            busy += not part.begin(self._fetch).done()
