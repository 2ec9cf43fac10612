"""The index of an archive: its members by name, in little memory, and as bytes for a file."""

from __future__ import annotations

import json
import re
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.archives.scan import Contents, Member

NUMBER = re.compile(r"(?:#\d+)*\Z")
"""The end of a name that is repeated in an archive; of others, nothing."""
_WIDTH = 8
"""Bytes of a number."""


@dataclass(frozen=True, eq=False)
class Index:
    """The members of an archive, sorted by name. Of a name that is repeated, the second one ends in `#2`.

    Attributes:
        names: one after the other, UTF-8; `ends` is where each ends.
        offsets: of the bytes of each member in the archive, as `sizes` is how many these are.
        in_order: whether their bytes are in the order of their names.
        problem: why there are no more; None if these are all.
    """

    names: bytes
    ends: array[int]
    offsets: array[int]
    sizes: array[int]
    in_order: bool
    problem: SourceError | None

    @classmethod
    def of(cls, contents: Contents) -> Index:
        """Return the index of what is in an archive."""
        members = sorted(_told_apart(contents.members))
        offsets = array("q", [member.offset for member in members])
        names, ends = bytearray(), array("q")
        for member in members:
            names += member.name.encode()
            ends.append(len(names))
        sizes = array("q", [member.size for member in members])
        return cls(bytes(names), ends, offsets, sizes, sorted(offsets) == list(offsets), contents.problem)

    def __len__(self) -> int:
        return len(self.ends)

    def member(self, number: int) -> Member:
        """Return a member by its number."""
        name = self.names[self.ends[number - 1] if number else 0 : self.ends[number]]
        return Member(name.decode(), self.offsets[number], self.sizes[number])

    def __iter__(self) -> Iterator[Member]:
        return map(self.member, range(len(self)))

    def find(self, name: str) -> Member | None:
        """Return the member of a name; None if there is none."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            member = self.member(middle)
            if member.name == name:
                return member
            low, high = (middle + 1, high) if member.name < name else (low, middle)
        return None

    def to_bytes(self) -> bytes:
        """Return it as bytes, which only machines of the same byte order can read."""
        problem = self.problem and [self.problem.error, self.problem.message]
        about = {"order": sys.byteorder, "members": len(self), "in_order": self.in_order, "problem": problem}
        numbers = (column.tobytes() for column in (self.ends, self.offsets, self.sizes))
        return b"\n".join([json.dumps(about).encode(), b"".join([*numbers, self.names])])

    @classmethod
    def from_bytes(cls, data: bytes) -> Index:
        """Return what `to_bytes` has made bytes of; a `ValueError` if another machine has."""
        line, _, rest = data.partition(b"\n")
        about = json.loads(line)
        if about["order"] != sys.byteorder:
            raise ValueError("an index of another byte order")
        length = _WIDTH * about["members"]
        columns = [array("q", rest[start : start + length]) for start in range(0, 3 * length, length or 1)]
        ends, offsets, sizes = columns or [array("q")] * 3
        problem = about["problem"] and SourceError("reader", *about["problem"])
        return cls(rest[3 * length :], ends, offsets, sizes, about["in_order"], problem)


def _told_apart(members: list[Member]) -> Iterator[Member]:
    """Yield the members with a number at the end of each name that was there before."""
    taken: set[str] = set()
    counts: dict[str, int] = {}
    for member in members:
        name = member.name
        while name in taken:
            counts[member.name] = counts.get(member.name, 1) + 1
            name = f"{member.name}#{counts[member.name]}"
        taken.add(name)
        yield member._replace(name=name)
