"""What is in a tar file, from its headers: where each regular file begins, and how much of it is whole."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import NamedTuple

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.archives.decompress import Alive
from resnet_pipe.reader.archives.tape import Tape
from resnet_pipe.store.names import key_of

_HEADER_BYTES = 1 << 20
"""A header with what comes before it, such as a long name: more would be meant to fill the memory."""
_NAME_BYTES = 4096
"""The longest path that Linux opens."""
_AFTER_BYTES = 1 << 20
"""Read after the end of a compressed archive, to come to its checksum: tar fills up 10 KiB with zeros."""
_SURPRISES = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What tarfile raises over headers that nobody has thought of."""
SPARSE = -1
"""The offset of a file with holes: its bytes are not in one place."""


class Member(NamedTuple):
    """A regular file in a tar file: its key below the tar file, and where its bytes are.

    A hard link is one, too, whose bytes are those of a file before it.
    """

    name: str
    offset: int
    size: int


class Contents(NamedTuple):
    """The members that are whole, in the order of the archive, and why there are no more, if so."""

    members: list[Member]
    problem: SourceError | None


def scan(tape: Tape, alive: Alive) -> Contents:
    """Return what is in a tar file. What comes after the mark of its end is no part of it, as for GNU tar.

    An `unreadable` problem is raised: it is none of the archive.
    """
    members: list[Member] = []
    problem = None
    steps = _Steps(tape, alive)
    try:
        for member in _members(steps):
            members.append(member)  # one by one: those before the damage count
        if tape.forwards:
            tape.read_at(tape.reached, _AFTER_BYTES, alive)
    except SourceError as error:
        if error.error == "unreadable":
            raise
        problem = error
    except tarfile.TarError as error:
        if steps.ended:
            problem = SourceError("reader", "truncated", "it ends in the middle of a file")
        else:
            problem = SourceError("reader", "damaged", f"a header is damaged: {error}")
    except _SURPRISES as error:
        problem = SourceError("reader", "damaged", f"a header is damaged: {' '.join(str(error).split())}")
    if problem and members and members[-1].offset + members[-1].size > tape.reached:
        members.pop()
    return Contents(members, problem)


def _members(steps: _Steps) -> Iterator[Member]:
    tar = tarfile.TarFile(fileobj=steps, tarinfo=_Header, encoding="utf-8", errors="surrogateescape")  # type: ignore[arg-type]
    files: dict[str, Member] = {}
    while (header := tar.next()) is not None:
        if header.size < 0:
            raise SourceError("reader", "damaged", f"a header says that {header.size} bytes follow")
        tar.members = []  # type: ignore[attr-defined]  # it would keep all of them
        name, member = _name(header.name), None
        if header.isreg():
            offset = SPARSE if header.issparse() else header.offset_data
            member = Member(name, offset, header.size)
        elif header.islnk() and (file := files.get(_name(header.linkname))) is not None:
            member = file._replace(name=name)
        if member is not None and name:
            files[name] = member
            yield member
        steps.allow()


def _name(name: str) -> str:
    """Return the key of a name: without a leading slash, `.` and `..`, as GNU tar unpacks it."""
    parts = name.partition("\0")[0].split("/")
    key = key_of("/".join(part for part in parts if part not in ("", ".", "..")))
    if len(key.encode()) > _NAME_BYTES:
        raise SourceError("reader", "damaged", f"a name of {len(name)} characters")
    return key


class _Header(tarfile.TarInfo):
    """A header of which it is said if it is not whole: tarfile takes that for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> _Header:
        at = tar.fileobj.tell()
        try:
            return super().fromtarfile(tar)
        except tarfile.TruncatedHeaderError:  # type: ignore[attr-defined]
            text = "it ends in the middle of a header" if at else "too short for a tar file"
            raise SourceError("reader", "truncated" if at else "unknown_format", text) from None
        except tarfile.InvalidHeaderError:  # type: ignore[attr-defined]
            if at:
                raise SourceError("reader", "damaged", f"no header at byte {at}") from None
            text = "neither a tar file nor one that gzip or Zstandard has compressed"
            raise SourceError("reader", "unknown_format", text) from None


class _Steps:
    """A tape as tarfile reads it: only forwards, and not much between two members.

    Attributes:
        ended: whether the last read has come to the end.
    """

    def __init__(self, tape: Tape, alive: Alive) -> None:
        self._tape = tape
        self._alive = alive
        self._at = 0
        self.ended = False
        self.allow()

    def allow(self) -> None:
        """Let as much be read as a header may have."""
        self._left = _HEADER_BYTES

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int) -> None:
        if offset < self._at:
            raise SourceError("reader", "damaged", "a header says that what follows lies before it")
        self._at = offset

    def read(self, size: int) -> bytes:
        self._left -= size
        if self._left < 0:
            raise SourceError("reader", "damaged", f"a header of more than {_HEADER_BYTES >> 20} MiB")
        data = self._tape.read_at(self._at, size, self._alive)
        self._at += len(data)
        self.ended = len(data) < size
        return data
