"""The ledger: one record for each committed chunk, and the only answer to "is this source done?".

How a chunk is committed, so that a crash at any instant leaves either the old state or the new one:

1. all its files are complete in its staging directory, on the disk;
2. its record is written as *pending*: it says which files there will be, and their SHA-256;
3. each file gets its final name, and files of the old record that are in the new one no more are removed;
4. the record gets its final name.

After a crash, a pending record that is whole is carried through from step 3; a torn one is dropped, with
the staging directory. A chunk that is written again (sources changed) goes the same way, so its old rows
are there until the new ones are.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from resnet_pipe import atomic
from resnet_pipe.errors import RunError
from resnet_pipe.reader.source import Source, path_of
from resnet_pipe.run.lock import report_lock
from resnet_pipe.run.task import Failure

SCHEMA_VERSION = 1
HOME = "_resnet_pipe"
"""The directory inside an output directory that belongs to resnet-pipe."""
_TAG = re.compile(r"\.(\d+of(\d+))\.tmp$")
_TEMPORARY = ("failures.jsonl", "metrics*", "fingerprint.json")
"""What a run that was killed may leave under a temporary name. Nobody else's file is touched."""
_WHOLE = "whole"
"""Where a run that has the output directory alone stages its files."""


class File(NamedTuple):
    """A file that belongs to a committed chunk.

    Attributes:
        name: path below the output directory, in the text form of `key_of`.
        sha256: hexadecimal.
    """

    name: str
    sha256: str


@dataclass(frozen=True)
class Entry:
    """One source in a record.

    Attributes:
        source: its identity when it was processed.
        rows: how many it gave.
        failure: why it gave none, or not all (it is *partial*); None if it is done.
        files: that are of this source alone, such as its annotated video.
    """

    source: Source
    rows: int
    failure: Failure | None = None
    files: tuple[File, ...] = ()

    @property
    def status(self) -> str:
        """Return `done`, `failed` (no rows), or `partial` (the rows before the damage)."""
        if self.failure is None:
            return "done"
        return "partial" if self.rows else "failed"


@dataclass(frozen=True)
class Record:
    """What was committed together.

    Attributes:
        chunk: id of the chunk, also in the names of the shards.
        shards: the files with the rows of all sources, one for each writer.
        fingerprint: of the job that made it.
        committed_at: UTC, ISO 8601.
        entries: its sources, sorted by key.
    """

    chunk: str
    shards: tuple[File, ...]
    fingerprint: str
    committed_at: str
    entries: tuple[Entry, ...]

    @property
    def rows(self) -> int:
        """Return how many rows all its sources gave."""
        return sum(entry.rows for entry in self.entries)

    @property
    def files(self) -> tuple[File, ...]:
        """Return every file of the chunk: the shards, and those of single sources."""
        return self.shards + tuple(file for entry in self.entries for file in entry.files)


class Ledger:
    """The records of an output directory.

    Args:
        output: the output directory.
        tag: names this run among those that share the directory; empty for a run that has it alone.

    Attributes:
        output: the output directory.
        directory: where the records are.
        tag: as given.
    """

    def __init__(self, output: Path, tag: str = "") -> None:
        self.output = output
        self.directory = output / HOME / "ledger"
        self.tag = tag

    def records(self) -> Iterator[Record]:
        """Yield all records, sorted by chunk.

        Raises:
            RunError: a record cannot be read.
        """
        for path in sorted(self.directory.glob("*.json")):
            if not path.name.startswith("."):
                yield _read(path)

    def stage(self, chunk: str) -> Path:
        """Return an empty directory for the files of a chunk, laid out as in the output directory."""
        staging = self._staging(self.tag, chunk)
        shutil.rmtree(staging, ignore_errors=True)
        atomic.make_folder(staging, self.output / HOME)
        return staging

    @property
    def spool(self) -> Path:
        """Return where a run keeps the finished spans of videos in flight."""
        return self.output / HOME / "spool" / (self.tag or _WHOLE)

    def unstage(self, chunk: str) -> None:
        """Remove the directory that `stage` gave: the chunk will not be committed."""
        shutil.rmtree(self._staging(self.tag, chunk))

    def path(self, file: File) -> Path:
        """Return the final path of a file."""
        return path_of(self.output, file.name)

    def is_intact(self, record: Record) -> bool:
        """Tell whether all files of a chunk are there."""
        return all(self.path(file).is_file() for file in record.files)

    def commit(self, record: Record, replaces: Record | None) -> None:
        """Make a chunk and its record final. See the top of this file for the order.

        Args:
            record: its new files are in the directory that `stage` gave.
            replaces: the old record of this chunk, if it has one.
        """
        staging = self._staging(self.tag, record.chunk)
        for directory, _, names in os.walk(staging):
            for name in names:
                atomic.sync(Path(directory, name))
            atomic.sync(Path(directory))
        atomic.sync_up_to(staging.parent, self.output / HOME)
        final = self.directory / f"{record.chunk}.json"
        pending = atomic.temporary_name(final, self.tag)
        obsolete = (
            {file.name for file in replaces.files} - {file.name for file in record.files} if replaces else ()
        )
        pending.write_text(_dump(record, sorted(obsolete)), encoding="utf-8")
        atomic.sync(pending)
        atomic.sync(self.directory)
        self._carry_through(pending, record, sorted(obsolete), staging)

    def _carry_through(self, pending: Path, record: Record, obsolete: list[str], staging: Path) -> None:
        """Do what is left of the commit of a pending record: steps 3 and 4."""
        changed: set[Path] = set()
        for file in record.files:
            staged, path = path_of(staging, file.name), self.path(file)
            if staged.exists():  # otherwise it is in place, or belongs to a source that is kept
                atomic.make_folder(path.parent, self.output)
                os.replace(staged, path)  # noqa: PTH105 - the os call is the one with the guarantee
                changed.add(path.parent)
        for name in obsolete:
            changed.add(self._remove(path_of(self.output, name)))
        for directory in changed:
            if directory.is_dir():  # otherwise it has become empty, and those above it are here too
                atomic.sync_up_to(directory, self.output)
        os.replace(pending, self.directory / f"{record.chunk}.json")  # noqa: PTH105 - synced already
        atomic.sync(self.directory)
        shutil.rmtree(staging, ignore_errors=True)

    def recover(self) -> list[str]:
        """Finish or undo what a crash left half done; return the names of the chunks carried through.

        What the other parts of this run's division are writing now is left alone. A run that was killed
        may have been another one: of the whole job, or of another division.
        """
        with report_lock(self.output / HOME):  # the parts may begin at the same time: one does it
            carried = [
                chunk
                for pending in self._leftovers(self.directory, "*.json")
                if (chunk := self._recover(pending)) is not None
            ]
            for name in _TEMPORARY:
                for directory in (self.output, self.output / HOME):
                    for leftover in self._leftovers(directory, name):
                        leftover.unlink(missing_ok=True)
            for place in (self.output / HOME / "staging").glob("*"):
                if not self._is_of_a_neighbour(place.name):
                    shutil.rmtree(place, ignore_errors=True)
            for place in self.spool.parent.glob("*"):
                if place != self.spool and not self._is_of_a_neighbour(place.name):
                    shutil.rmtree(place, ignore_errors=True)
        return carried

    def _recover(self, pending: Path) -> str | None:
        """Carry a pending record through, and return the name of its chunk; drop a torn one."""
        read = _read_pending(pending)
        if read is None:
            pending.unlink(missing_ok=True)
            return None
        record, obsolete = read
        tag = _TAG.search(pending.name)
        self._carry_through(pending, record, obsolete, self._staging(tag[1] if tag else "", record.chunk))
        return record.chunk

    def _staging(self, tag: str, chunk: str) -> Path:
        return self.output / HOME / "staging" / (tag or _WHOLE) / chunk

    def _leftovers(self, directory: Path, name: str) -> list[Path]:
        """Return the temporary files in a directory that no run can be writing now."""
        found = sorted(directory.glob(f".{name}.*tmp"))
        return [
            path
            for path in found
            if not ((tag := _TAG.search(path.name)) and self._is_of_a_neighbour(tag[1]))
        ]

    def _is_of_a_neighbour(self, tag: str) -> bool:
        """Tell whether a tag is that of another part of this run's division, which may be running now."""
        return tag != self.tag and tag.partition("of")[2] == self.tag.partition("of")[2] != ""

    def remove(self, record: Record) -> None:
        """Forget a chunk, with its files. They go first: without them, the record means nothing."""
        for directory in {self._remove(self.path(file)) for file in record.files}:
            if directory.is_dir():
                atomic.sync(directory)
        (self.directory / f"{record.chunk}.json").unlink()
        atomic.sync(self.directory)

    def _remove(self, path: Path) -> Path:
        """Remove a file, and the folders that are empty then; return the nearest folder that is left."""
        path.unlink(missing_ok=True)
        for directory in path.parents:
            if directory == self.output or (self.tag and directory.is_dir()):
                break  # another part may be about to put a file into an empty one
            try:
                directory.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                break  # it is not empty
        return directory


def _dump(record: Record, obsolete: list[str]) -> str:
    sources = []
    for entry in record.entries:
        line: dict[str, Any] = {
            "key": entry.source.key,
            "size": entry.source.size,
            "mtime_ns": entry.source.mtime_ns,
            "status": entry.status,
            "rows": entry.rows,
        }
        if entry.failure:
            line["failure"] = {
                "stage": entry.failure.stage,
                "error": entry.failure.error,
                "message": entry.failure.message,
            }
        if entry.files:
            line["files"] = [file._asdict() for file in entry.files]
        sources.append(line)
    head = {
        "schema_version": SCHEMA_VERSION,
        "chunk": record.chunk,
        "shards": [file._asdict() for file in record.shards],
        "rows": record.rows,
        "fingerprint": record.fingerprint,
        "committed_at": record.committed_at,
    }
    return json.dumps({**head, "removed": obsolete, "sources": sources}, ensure_ascii=False)


def _read(path: Path) -> Record:
    try:
        return _parse(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path}: not a readable ledger record: {error}",
            "restore it from a backup; or remove it together with its shard, and run again",
        ) from None


def _read_pending(path: Path) -> tuple[Record, list[str]] | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return _parse(data), data["removed"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # the crash came while it was being written


def _parse(data: dict[str, Any]) -> Record:
    if data["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"schema version {data['schema_version']}; this program knows {SCHEMA_VERSION}")
    entries = []
    for line in data["sources"]:
        source = Source(line["key"], line["size"], line["mtime_ns"])
        failure = line.get("failure")
        entries.append(
            Entry(
                source,
                line["rows"],
                Failure(source.key, **failure) if failure else None,
                tuple(File(**file) for file in line.get("files", ())),
            )
        )
    return Record(
        chunk=data["chunk"],
        shards=tuple(File(**file) for file in data["shards"]),
        fingerprint=data["fingerprint"],
        committed_at=data["committed_at"],
        entries=tuple(entries),
    )
