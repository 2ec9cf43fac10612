"""One record of the ledger against its files: there, with their SHA-256, and with the rows that it names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from resnet_pipe.ledger.check import row_keys
from resnet_pipe.ledger.check.findings import Kind, Problem
from resnet_pipe.ledger.record import Entry, File, Record
from resnet_pipe.store.digest import file_sha256
from resnet_pipe.store.disk import Disk
from resnet_pipe.writer.tables import npy
from resnet_pipe.writer.writer import RowKey

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


class _Files:
    """The files of one record, while they are looked at."""

    def __init__(self, stored: Stored, prefix: str) -> None:
        self._stored = stored
        self._prefix = prefix
        self._whole: dict[str, Path] = {}
        """Name -> path of those that are what was written."""
        self.problems: list[Problem] = []
        self.bytes = 0

    def compare(self) -> None:
        """Fill in what is wrong."""
        record = self._stored.record
        for file in record.files:
            self._hash(file)
        expected = {entry.source.key: entry.rows for entry in record.entries}
        for shard in record.shards:
            path = self._whole.get(shard.name)
            if path is not None:
                self._rows(shard.name, row_keys.table(path), expected)
                if shard.name.endswith(npy.INDEX_SUFFIX):
                    self._array(shard.name.removesuffix(npy.INDEX_SUFFIX) + npy.SUFFIX, row_keys.table(path))
        for entry in record.entries:
            self._own(entry)

    def _own(self, entry: Entry) -> None:
        """Look at the arrays of one source."""
        for file in entry.files:
            index = file.name.removesuffix(npy.SUFFIX) + ".csv"
            if file.name.endswith(npy.SUFFIX) and index in self._whole:
                key, path = entry.source.key, self._whole[index]
                self._rows(index, npy.frame_keys(path, key), {key: entry.rows})
                self._array(file.name, npy.frame_keys(path, key))

    def _hash(self, file: File) -> None:
        path = self._stored.find(file)
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
                self._whole[file.name] = path
            else:
                self._add("changed", file.name, f"not what was written ({size:,} bytes)", _RESTORE)

    def _rows(self, name: str, rows: Iterator[RowKey] | None, expected: dict[str, int]) -> None:
        if rows is not None:
            self._differ(name, lambda: row_keys.differences(rows, expected))

    def _array(self, name: str, index: Iterable[object] | None) -> None:
        """Compare the length of an array with that of its index, which is sound in itself."""
        if index is not None and name in self._whole:
            self._differ(name, lambda: row_keys.unlike_index(self._whole[name], index))

    def _differ(self, name: str, look: Callable[[], list[str]]) -> None:
        try:
            found = look()
        except Exception as error:  # whatever a library says of a file
            found = [f"cannot be read: {type(error).__name__}: {error}"]
        if found:
            more = f"; and {len(found) - 1:,} more" if len(found) > 1 else ""
            self._add("rows", name, found[0] + more, _RESTORE)

    def _add(self, kind: Kind, name: str, text: str, remedy: str) -> None:
        self.problems.append(Problem(kind, self._prefix + name, text, remedy))


def _state(stored: Stored) -> int:
    """Return a number that is another one when the record or one of its files is another one."""
    looks = (place.look(file.name) for file in stored.record.files for place in stored.places)
    return hash((stored.record, *looks))
