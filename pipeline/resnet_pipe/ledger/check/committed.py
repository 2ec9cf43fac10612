"""One record of the ledger against its files: there, with their SHA-256, and with the rows that it names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np

from resnet_pipe.ledger.check.findings import Kind, Problem
from resnet_pipe.ledger.record import File, Record
from resnet_pipe.store.digest import file_sha256
from resnet_pipe.store.disk import Disk
from resnet_pipe.writer.registry import SECTIONS
from resnet_pipe.writer.tables import npy
from resnet_pipe.writer.writer import RowKey, WriterSection

_AGAIN = "run the job again; it processes their sources again"
_RESTORE = (
    "restore them from a backup; or remove them and run the job again, which processes their sources again"
)
_DISK = f"check the disk and the permissions; if the files are lost, {_RESTORE}"


@dataclass(frozen=True)
class Stored:
    """A record, the path of its text, and where its files may be: the first place that has one counts."""

    record: Record
    path: Path
    places: tuple[Disk, ...]

    def find(self, file: File) -> Path:
        """Return the path of a file, or where it should be."""
        place = next((place for place in self.places if place.look(file.name)), self.places[-1])
        return place.path(file.name)


class Examiner:
    """Compares records with their files, and remembers those that were sound, for when it looks again."""

    def __init__(self) -> None:
        self._sound: dict[Path, tuple[int, int]] = {}
        """Path of a record -> what it and its files were like, and how many bytes these have."""

    def examine(self, stored: Stored, prefix: str) -> tuple[list[Problem], int]:
        """Return what is wrong with a record's files, named with the prefix, and how many bytes were read."""
        looks = (place.look(file.name) for file in stored.record.files for place in stored.places)
        state = hash((stored.record, *looks))  # another one when the record or one of its files is another
        known = self._sound.get(stored.path)
        if known is not None and known[0] == state:
            return [], known[1]
        found = _Files(stored, prefix)
        found.compare()
        if not found.problems:
            self._sound[stored.path] = state, found.bytes
        return found.problems, found.bytes


@dataclass
class _Files:
    """The files of one record, while they are looked at; of each that is what was written, name and path."""

    stored: Stored
    prefix: str
    whole: dict[str, Path] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    bytes: int = 0

    def compare(self) -> None:
        """Fill in what is wrong."""
        record = self.stored.record
        for file in record.files:
            self._hash(file)
        expected = dict(zip(record.entries.keys, record.entries.rows, strict=True))
        for name in (shard.name for shard in record.shards if shard.name in self.whole):
            section = _section_of(name)
            if section is not None:
                rows = partial(section.row_keys, self.whole[name])
                self._rows(name, rows, expected, name.removesuffix(npy.INDEX_SUFFIX) + npy.SUFFIX)
        for entry in record.entries.detailed:
            key = entry.source.key
            for file in entry.files:
                index = file.name.removesuffix(npy.SUFFIX) + ".csv"
                if file.name.endswith(npy.SUFFIX) and index in self.whole:
                    rows = partial(npy.frame_keys, self.whole[index], key)
                    self._rows(index, rows, {key: entry.rows}, file.name)

    def _hash(self, file: File) -> None:
        path = self.stored.find(file)
        if not path.is_file():
            self._add("missing", file.name, "missing", _AGAIN)
            return
        try:
            size, digest = path.stat().st_size, file_sha256(path)
        except FileNotFoundError:
            self._add("missing", file.name, "missing", _AGAIN)
        except OSError as error:
            self._add("unreadable", file.name, error.strerror or str(error), _DISK)
        else:
            self.bytes += size
            if digest == file.sha256:
                self.whole[file.name] = path
            else:
                self._add("changed", file.name, f"not what was written ({size:,} bytes)", _RESTORE)

    def _rows(
        self, name: str, rows: Callable[[], Iterator[RowKey]], expected: dict[str, int], array: str
    ) -> None:
        """Compare the rows of a file with those expected, and with the array whose index it is, if any."""
        self._differ(name, lambda: _differences(rows(), expected))
        if array in self.whole:
            self._differ(array, lambda: _unlike_index(self.whole[array], rows()))

    def _differ(self, name: str, look: Callable[[], list[str]]) -> None:
        try:
            found = look()
        except Exception as error:  # whatever a library says of a file
            found = [f"cannot be read: {type(error).__name__}: {error}"]
        if found:
            more = f"; and {len(found) - 1:,} more" if len(found) > 1 else ""
            self._add("rows", name, found[0] + more, _RESTORE)

    def _add(self, kind: Kind, name: str, text: str, remedy: str) -> None:
        self.problems.append(Problem(kind, self.prefix + name, text, remedy))


def _section_of(shard: str) -> type[WriterSection] | None:
    """Return the section whose writer made a shard; None for a file that does not say which rows it has."""
    sections = SECTIONS.values()
    return next((one for one in sections if one.shard_suffix and shard.endswith(one.shard_suffix)), None)


def _unlike_index(path: Path, index: Iterable[object]) -> list[str]:
    """Return in words how the rows of an array differ in number from those of its index.

    Raises:
        ValueError: it is no array, or as long as its head does not say.
    """
    with path.open("rb") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("not an .npy file of version 1.0")
        (rows, width), _, dtype = np.lib.format.read_array_header_1_0(file)
        expected = file.tell() + rows * width * dtype.itemsize
        if os.fstat(file.fileno()).st_size != expected:
            raise ValueError(f"according to its header it should have {expected} bytes")
    named = sum(1 for _ in index)
    return [f"{rows:,} rows, but {named:,} in its index"] if rows != named else []


def _differences(rows: Iterable[RowKey], expected: Mapping[str, int]) -> list[str]:
    """Return in words how rows differ from those that a record names.

    Those of a source are expected together, by increasing frame; sources without rows may be named or not.
    """
    found: list[str] = []
    seen: set[str] = set()
    for key, group in groupby(rows, key=itemgetter(0)):
        count, last, alone = 0, None, False
        for _, frame in group:
            alone = frame is None and count == 0
            if count and (frame is None or last is None or frame <= last):
                row = key if frame is None else f"{key}, frame {frame},"
                found.append(f"row {row} is duplicated or out of order")
            count, last = count + 1, frame
        if key in seen:
            found.append(f"rows of {key} are in two places")
        elif not expected.get(key):
            found.append(f"{count} rows of {key}, but its record has none")
        elif count != expected[key] and not alone:  # one row alone may be the mean over all frames
            found.append(f"{count} rows of {key}, but its record has {expected[key]}")
        seen.add(key)
    found += [
        f"no rows of {key}, but its record has {count}"
        for key, count in expected.items()
        if count and key not in seen
    ]
    return found
