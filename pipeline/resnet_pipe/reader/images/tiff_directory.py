"""The first directory of a TIFF file: read its tags and their positions, and write files of a single one.

The format: TIFF 6.0, section 2; BigTIFF: https://www.awaresystems.be/imaging/tiff/bigtiff.html.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from resnet_pipe.errors import SourceError

_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
"""The integer types, and their `struct` letters."""
_SIZES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes per value of each type that has more than one."""
_FRACTIONS = (5, 10)
"""The types that have two numbers of 4 bytes."""


@dataclass(frozen=True)
class Directory:
    """The first directory of a TIFF file: `data` is all of it, `order` its byte order, `<` or `>`.

    `entries` tells where the entry of each tag begins, `following` where the next directory does; 0 if there
    is none. A BigTIFF file is `big`.
    """

    data: bytes
    order: str
    big: bool
    entries: dict[int, int]
    following: int

    @classmethod
    def first(cls, data: bytes) -> Directory:
        """Find the entries, or raise `SourceError`: `truncated`."""
        order = "<" if data.startswith(b"II") else ">"
        big = data[2:4] in (b"+\0", b"\0+")
        (head, count, size, offset) = ("8xQ", "Q", 20, "Q") if big else ("4xI", "H", 12, "I")
        try:
            (start,) = struct.unpack_from(order + head, data)
            (length,) = struct.unpack_from(order + count, data, start)
            start += struct.calcsize(order + count)
            end = start + length * size
            (following,) = struct.unpack_from(order + offset, data, end) if end < len(data) else (0,)
            if end > len(data):
                raise SourceError("reader", "truncated", "it ends within its first directory")
            entries: dict[int, int] = {}
            for place in range(start, end, size):
                entries.setdefault(struct.unpack_from(order + "H", data, place)[0], place)
        except (struct.error, OverflowError):
            raise SourceError("reader", "truncated", "it ends before its first directory") from None
        return cls(data, order, big, entries, following)

    def numbers(self, tag: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Return the integers of a tag, or raise `SourceError`: `truncated` or `damaged`."""
        if tag not in self.entries:
            return default
        kind, count, start = self._value(tag)
        if kind not in _TYPES:
            raise SourceError("reader", "damaged", f"its tag {tag} is of type {kind}, not a number")
        if not count:
            return default
        return struct.unpack_from(f"{self.order}{count}{_TYPES[kind]}", self.data, start)

    def number(self, tag: int, default: int) -> int:
        """Return the first integer of a tag."""
        return self.numbers(tag, (default,))[0]

    def raw(self, tag: int) -> bytes:
        """Return the bytes of a tag of type byte; empty if it is absent or lies outside the file."""
        if tag not in self.entries:
            return b""
        try:
            _, count, start = self._value(tag)
        except SourceError:
            return b""
        return self.data[start : start + count]

    def _value(self, tag: int) -> tuple[int, int, int]:
        """Return type, count, and the offset of the values."""
        place = self.entries[tag]
        form, room = ("HQ", 8) if self.big else ("HI", 4)
        kind, count = struct.unpack_from(self.order + form, self.data, place + 2)
        start = place + 2 + struct.calcsize(self.order + form)
        size = count * _SIZES.get(kind, 1)
        if size > room:
            (start,) = struct.unpack_from(self.order + ("Q" if self.big else "I"), self.data, start)
        if start + size > len(self.data):
            raise SourceError("reader", "truncated", f"it ends before the values of its tag {tag}")
        return kind, count, start

    def only(self, tags: Set[int]) -> bytes:
        """Return the file rewritten with a single directory that has only some tags.

        It is little-endian: Pillow cannot read big-endian BigTIFF files. The pixels are left as they are, so
        they must not depend on the byte order. Values that are not in the file are a `SourceError`:
        `truncated`.
        """
        kept = {}
        for tag in tags & self.entries.keys():
            kind, count, start = self._value(tag)
            size = _SIZES.get(kind, 1)
            stored = self.data[start : start + count * size]
            if self.order == ">":
                unit = 4 if kind in _FRACTIONS else size
                stored = np.frombuffer(stored, f">u{unit}").astype(f"<u{unit}").tobytes()
            kept[tag] = kind, count, stored
        return tiff_file([memoryview(self.data)[16 if self.big else 8 :]], kept, self.big)


def tiff_file(
    content: Sequence[bytes | memoryview], tags: Mapping[int, tuple[int, int, bytes]], big: bool
) -> bytes:
    """Return a little-endian TIFF file: a header of 8 bytes, or 16 of a `big` one, the content, a directory.

    `tags` are type, count, and the values as they are stored.
    """
    entry, number, offset, room = ("<HHQ", "<Q", "<Q", 8) if big else ("<HHI", "<H", "<I", 4)
    end = (16 if big else 8) + sum(map(len, content))
    values, entries = bytes(end % 2), b""
    for tag, (kind, count, stored) in sorted(tags.items()):
        entries += struct.pack(entry, tag, kind, count)
        if len(stored) > room:
            entries += struct.pack(offset, end + len(values))
            values += stored + bytes(len(stored) % 2)
        else:
            entries += stored.ljust(room, b"\0")
    start = end + len(values)
    head = struct.pack("<2sHHHQ", b"II", 43, 8, 0, start) if big else struct.pack("<2sHI", b"II", 42, start)
    return b"".join((head, *content, values, struct.pack(number, len(tags)), entries, bytes(room)))
