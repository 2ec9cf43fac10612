"""The ledger: one record for each committed chunk, and the only answer to "is this source done?".

How a chunk is committed, so that a crash at any instant leaves either the old state or the new one:

1. the shard is complete under a temporary name, on the disk;
2. its record is written as *pending*: it says which SHA-256 the shard will have;
3. the shard gets its final name;
4. the record gets its final name.

After a crash, a pending record whose shard is in place is carried through; any other is dropped, with
the temporary shard. A chunk that is written again (sources changed) goes the same way, so its old rows
are there until the new ones are.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from resnet_pipe import atomic
from resnet_pipe.errors import RunError
from resnet_pipe.model import file_sha256
from resnet_pipe.reader.source import Source
from resnet_pipe.run.task import Failure

SCHEMA_VERSION = 1
HOME = "_resnet_pipe"
"""The directory inside an output directory that belongs to resnet-pipe."""
_TAG = re.compile(r"\.(\d+of(\d+))\.tmp$")
_TEMPORARY = ("part-[0-9]*", "merged-part-[0-9]*", "failures.jsonl", "metrics*", "fingerprint.json")
"""What a run that was killed may leave under a temporary name. Nobody else's file is touched."""


@dataclass(frozen=True)
class Entry:
    """One source in a record.

    Attributes:
        source: its identity when it was processed.
        failure: why it gave no row; None if it is done.
    """

    source: Source
    failure: Failure | None


@dataclass(frozen=True)
class Record:
    """What was committed as one shard.

    Attributes:
        chunk: id of the chunk, also in the shard's name.
        shard: file name of the shard in the output directory.
        rows: in the shard.
        sha256: of the shard.
        fingerprint: of the job that made it.
        committed_at: UTC, ISO 8601.
        entries: its sources, sorted by key.
    """

    chunk: str
    shard: str
    rows: int
    sha256: str
    fingerprint: str
    committed_at: str
    entries: tuple[Entry, ...]


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

    def temporary_shard(self, shard: str) -> Path:
        """Return the temporary name under which a shard is written."""
        return atomic.temporary_name(self.output / shard, self.tag)

    def commit(self, record: Record, temporary: Path) -> None:
        """Make a finished shard and its record final. See the top of this file for the order."""
        final = self.directory / f"{record.chunk}.json"
        pending = atomic.temporary_name(final, self.tag)
        pending.write_text(_dump(record), encoding="utf-8")
        atomic.sync(pending)
        atomic.sync(self.directory)
        atomic.put_in_place(temporary, self.output / record.shard)
        os.replace(pending, final)  # noqa: PTH105 - synced already
        atomic.sync(self.directory)

    def recover(self) -> list[str]:
        """Finish or undo what a crash left half done; return the names of the chunks carried through.

        What the other parts of this run's division are writing now is left alone. A run that was killed
        may have been another one: of the whole job, or of another division.
        """
        carried = []
        for pending in self._leftovers(self.directory, "*.json"):
            record = _read_pending(pending)
            shard = self.output / record.shard if record else None
            if record and shard and shard.is_file() and file_sha256(shard) == record.sha256:
                with suppress(FileNotFoundError):  # another part has just done it
                    atomic.put_in_place(pending, self.directory / f"{record.chunk}.json")
                carried.append(record.chunk)
            else:
                pending.unlink(missing_ok=True)
        for name in _TEMPORARY:
            for directory in (self.output, self.output / HOME):
                for leftover in self._leftovers(directory, name):
                    leftover.unlink(missing_ok=True)
        return carried

    def _leftovers(self, directory: Path, name: str) -> list[Path]:
        """Return the temporary files in a directory that no run can be writing now."""
        return [path for path in sorted(directory.glob(f".{name}.*tmp")) if not self._in_use(path)]

    def _in_use(self, temporary: Path) -> bool:
        tag = _TAG.search(temporary.name)
        return tag is not None and tag[1] != self.tag and tag[2] == self.tag.partition("of")[2]

    def remove(self, record: Record) -> None:
        """Forget a chunk, with its shard. The shard goes first: without it, the record means nothing."""
        (self.output / record.shard).unlink(missing_ok=True)
        atomic.sync(self.output)
        (self.directory / f"{record.chunk}.json").unlink()
        atomic.sync(self.directory)


def _dump(record: Record) -> str:
    sources = []
    for entry in record.entries:
        line: dict[str, Any] = {
            "key": entry.source.key,
            "size": entry.source.size,
            "mtime_ns": entry.source.mtime_ns,
            "status": "failed" if entry.failure else "done",
        }
        if entry.failure:
            line["failure"] = {
                "stage": entry.failure.stage,
                "error": entry.failure.error,
                "message": entry.failure.message,
            }
        sources.append(line)
    head = {key: value for key, value in asdict(record).items() if key != "entries"}
    return json.dumps({"schema_version": SCHEMA_VERSION, **head, "sources": sources}, ensure_ascii=False)


def _read(path: Path) -> Record:
    try:
        return _parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path}: not a readable ledger record: {error}",
            "restore it from a backup; or remove it together with its shard, and run again",
        ) from None


def _read_pending(path: Path) -> Record | None:
    try:
        return _parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # the crash came while it was being written


def _parse(text: str) -> Record:
    data = json.loads(text)
    if data["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"schema version {data['schema_version']}; this program knows {SCHEMA_VERSION}")
    entries = []
    for line in data["sources"]:
        source = Source(line["key"], line["size"], line["mtime_ns"])
        failure = line.get("failure")
        entries.append(Entry(source, Failure(source.key, **failure) if failure else None))
    head = {key: data[key] for key in ("chunk", "shard", "rows", "sha256", "fingerprint", "committed_at")}
    return Record(**head, entries=tuple(entries))
