"""The ledger: one record for each committed chunk, and the only answer to "is this source done?".

A chunk is committed by publishing its record: its files first, the record last. A chunk that is written again
(sources changed) goes the same way, so its old rows are there until the new ones are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from resnet_pipe.ledger import record as records
from resnet_pipe.ledger.record import Record
from resnet_pipe.machine.home import cache_dir
from resnet_pipe.store.bucket import Bucket
from resnet_pipe.store.disk import Disk
from resnet_pipe.store.store import HOME, Change, Output, Store

LEDGER = f"{HOME}/ledger"
TEMPORARY = ("failures.jsonl", "metrics*", "fingerprint.json", "switch.json", "merged.json")
"""What a killed run may leave under a temporary name. No other files are touched."""


class Ledger:
    """The records of an output, a directory or a place in a bucket, whose store holds them and their files.

    The tag names this run among those that share the output; it is empty for a run that has it alone. An
    attempt has a name as well; it commits nothing: see `Store`.
    """

    def __init__(self, output: Output, tag: str = "", attempt: str = "") -> None:
        self.output = output
        self.store = _store(output, tag, attempt)
        self.tag = tag
        self._below: dict[str, Ledger] = {}

    def below(self, name: str) -> Ledger:
        """Return the ledger of an output that is in this one; always the same."""
        return self._below.setdefault(name, Ledger(self.output / name))

    def records(self) -> Iterator[Record]:
        """Yield all records, sorted by chunk; RunError if one cannot be read."""
        names = [*self.names()]
        texts = self.store.read_all(names)
        for name in names:
            try:
                text = next(texts)
            except OSError as error:
                raise records.unreadable(self.store.where(name), error) from None
            yield records.parse(self.store.where(name), text)

    def is_empty(self) -> bool:
        """Tell whether there is no record: nothing has been committed."""
        return next(self.names(), None) is None

    def names(self) -> Iterator[str]:
        """Yield the names of all records in the store, sorted."""
        return (found.name for found in self.store.list(LEDGER) if found.name.endswith(".json"))

    def stage(self, chunk: str) -> Path:
        """Return an empty directory for the files of a chunk, laid out as in the output directory."""
        return self.store.stage(record_name(chunk))

    def unstage(self, chunk: str) -> None:
        """Remove the directory that `stage` gave, unless the commit has begun, which `recover` ends."""
        self.store.unstage(record_name(chunk))

    def is_intact(self, record: Record) -> bool:
        """Tell whether all files of a chunk are there."""
        return self.store.has([file.name for file in record.files])

    def used(self) -> Iterator[str]:
        """Yield the ids that no new chunk may get, not even when theirs is gone."""
        return map(chunk_of, self.store.used(LEDGER))

    def claim(self, chunks: Iterable[str]) -> None:
        """Make sure that no other run commits chunks with these ids; LockedError if one may."""
        self.store.claim(list(map(record_name, chunks)))

    def commit(self, record: Record, replaces: Record | None) -> None:
        """Make a chunk and its record final, in the place of its old record, if it has one.

        The record's new files are in the directory that `stage` gave.

        Raises:
            LockedError: another run has committed this chunk.
        """
        record = replace(record, attempt=self.store.attempt(record_name(record.chunk)))
        before = {file.name for file in replaces.files} if replaces else set()
        obsolete = sorted(before - {file.name for file in record.files})
        data = records.dump(record, obsolete)
        self.store.publish(record_name(record.chunk), data, change_of(record, obsolete))

    def recover(self) -> None:
        """Finish or undo what a crash left half done.

        What the other divisions of the job are writing now is left alone. A run that was killed may have
        been another one: of the whole job, or of one that was divided by another N.

        Raises:
            RunError: what is half done cannot be read; nothing was changed.
        """

        def change(name: str) -> Change | None:
            pending = records.read_pending(self.store, name)
            return change_of(*pending) if pending else None

        self.store.recover(LEDGER, change, TEMPORARY)

    def remove(self, record: Record) -> None:
        """Forget a chunk, with its files. They go first: without them, the record means nothing."""
        self.store.delete(file.name for file in record.files)
        self.store.delete([record_name(record.chunk)])


class DirectoryLedger(Ledger):
    """The ledger of a directory of this machine."""

    store: Disk

    def __init__(self, output: Path, tag: str = "") -> None:
        super().__init__(output, tag)
        self.store = Disk(output, tag)


def record_name(chunk: str) -> str:
    """Return the name of a chunk's record in the store."""
    return f"{LEDGER}/{chunk}.json"


def chunk_of(name: str) -> str:
    """Return the chunk of a record that has this name."""
    return name.rpartition("/")[2].removesuffix(".json")


def change_of(record: Record, obsolete: list[str]) -> Change:
    """Return what becomes of the files of a chunk when a record comes, and others of its old record go."""
    return Change({file.name: file.sha256 for file in record.files}, obsolete, record.attempt)


def _store(output: Output, tag: str, attempt: str) -> Store:
    if isinstance(output, Path):
        return Disk(output, tag, attempt)
    name = hashlib.sha256(str(output).encode()).hexdigest()[:16]
    return Bucket(output, cache_dir() / "buckets" / name, tag, attempt)
