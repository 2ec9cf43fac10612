"""One record of the ledger: what was committed together, and its text, which ends in its own checksum."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

from pydantic_core import from_json

from resnet_pipe.errors import RunError
from resnet_pipe.reader.source import Source
from resnet_pipe.store.store import Store

SCHEMA_VERSION = 2
"""Records of version 1 have no checksum; they are read as well."""
_CHECKSUM = re.compile(rb', "sha256": "([0-9a-f]{64})"\}\Z')
"""The end of a record: the SHA-256 of all that stands before it."""
RETRYABLE = frozenset(["timeout", "worker_died", "unreadable", "no_memory"])
"""Classes of error that may say more about the machine than about the source: later runs try again."""


class Failure(NamedTuple):
    """A source that could not be processed, or not whole.

    In which stage (reader, preprocess, infer or writer), a short, stable class of error, and why, in words.
    It is transient if it may have been the machine's fault, for all that this run knows.
    """

    key: str
    stage: str
    error: str
    message: str
    transient: bool = False


class File(NamedTuple):
    """A file of a committed chunk: its path below the output directory, in the text form of `key_of`."""

    name: str
    sha256: str


class Canary(NamedTuple):
    """How well a few items agree with what they give in float32 on the CPU, one at a time.

    Attributes:
        items: how many were computed again.
        reference: by what: library, version, precision, device.
        cosine_min: the smallest cosine similarity of all; None where boxes alone are compared.
        top1: share of them whose best class is the same; None for a network without classes.
        matched: share of the boxes that are the same; None where there are none.
    """

    items: int
    reference: str
    cosine_min: float | None
    top1: float | None
    matched: float | None = None


@dataclass(frozen=True)
class Entry:
    """One source in a record.

    Attributes:
        source: its identity when it was processed.
        failure: why it gave no rows, or not all (it is *partial*); None if it is done.
        files: that are of this source alone, such as its annotated video.
        attempts: runs in a row that it has failed in, as it is; means nothing without a failure.
        notes: what is unusual about it, but was handled, in words.
    """

    source: Source
    rows: int
    failure: Failure | None = None
    files: tuple[File, ...] = ()
    attempts: int = 1
    notes: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        """Return `done`, `failed` (no rows), or `partial` (the rows before the damage)."""
        if self.failure is None:
            return "done"
        return "partial" if self.rows else "failed"


@dataclass(frozen=True)
class Entries:
    """The sources of a record, in columns: a ledger may have a million, and most of them are just done.

    Attributes:
        keys: of the sources, sorted.
        details: the entry itself where it has a failure, files or notes; None elsewhere.
    """

    keys: tuple[str, ...]
    sizes: tuple[int, ...]
    versions: tuple[int, ...]
    rows: tuple[int, ...]
    details: tuple[Entry | None, ...]

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Entries:
        """Return these entries, which are sorted by key of the source."""
        lines = [
            (*entry.source[:3], entry.rows, entry if entry.failure or entry.files or entry.notes else None)
            for entry in entries
        ]
        return cls(*zip(*lines, strict=True)) if lines else cls((), (), (), (), ())

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[Entry]:
        columns = (self.keys, self.sizes, self.versions, self.rows, self.details)
        for key, size, version, rows, entry in zip(*columns, strict=True):
            yield entry or Entry(Source(key, size, version), rows)

    @property
    def detailed(self) -> Iterator[Entry]:
        """Yield those with a failure, files or notes."""
        return filter(None, self.details)


@dataclass(frozen=True)
class Record:
    """What was committed together.

    Attributes:
        chunk: its id, also in the names of the shards.
        shards: the files with the rows of all sources, one for each writer.
        committed_at: UTC, ISO 8601.
        canary: that of the run which has committed it; None if it has had none.
        attempt: which of several publications it is, where there may be several at once.
    """

    chunk: str
    shards: tuple[File, ...]
    fingerprint: str
    committed_at: str
    entries: Entries
    canary: Canary | None = None
    attempt: str = ""

    @property
    def rows(self) -> int:
        """Return how many rows all its sources gave."""
        return sum(self.entries.rows)

    @property
    def files(self) -> tuple[File, ...]:
        """Return every file of the chunk: the shards, and those of single sources."""
        return self.shards + tuple(file for entry in self.entries.detailed for file in entry.files)


class TornError(Exception):
    """A record is not whole: its writing was cut off."""


def dump(record: Record, obsolete: list[str]) -> bytes:
    """Return the text of a record; obsolete are the files of its predecessor that go when it comes."""
    sources = []
    for entry in record.entries:
        line: dict[str, Any] = {
            "key": entry.source.key,
            "size": entry.source.size,
            "mtime_ns": entry.source.version,
            "status": entry.status,
            "rows": entry.rows,
        }
        if failure := entry.failure:
            line["failure"] = {"stage": failure.stage, "error": failure.error, "message": failure.message}
            line["attempts"] = entry.attempts
        if entry.files:
            line["files"] = [file._asdict() for file in entry.files]
        if entry.notes:
            line["notes"] = entry.notes
        sources.append(line)
    head: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "chunk": record.chunk,
        "shards": [file._asdict() for file in record.shards],
        "rows": record.rows,
        "fingerprint": record.fingerprint,
        "committed_at": record.committed_at,
    }
    if record.canary is not None:
        head["canary"] = record.canary._asdict()
    if record.attempt:
        head["attempt"] = record.attempt
    body = json.dumps({**head, "removed": obsolete, "sources": sources}, ensure_ascii=False)[:-1].encode()
    return body + f', "sha256": "{hashlib.sha256(body).hexdigest()}"}}'.encode()


def read(store: Store, name: str) -> Record:
    """Read a record; RunError if that fails, it is not whole, or a newer version has written it."""
    return parse(store.where(name), _text(store, name))


def parse(where: str, text: bytes) -> Record:
    """Return the record that has this text, and is called so in messages; see `read`."""
    try:
        return _load(where, text)[0]
    except TornError as error:
        raise unreadable(where, error) from None


def read_pending(store: Store, name: str) -> tuple[Record, list[str]] | None:
    """Read a record whose commit was cut off, and the names of the files that go when it comes.

    None if its writing was cut off, too: nothing has been put in place for it.

    Raises:
        RunError: it is whole, as far as can be told, and cannot be read, or a newer version has written it:
            files of it may be in place already.
    """
    try:
        return _load(store.where(name), _text(store, name))
    except TornError:
        return None


def _text(store: Store, name: str) -> bytes:
    try:
        return store.read(name)
    except OSError as error:
        raise unreadable(store.where(name), error) from None


def _load(where: str, text: bytes) -> tuple[Record, list[str]]:
    try:
        data = from_json(text, cache_strings="keys")  # a third faster than json, which counts for a million
        version = data["schema_version"]
    except (ValueError, LookupError, TypeError) as error:
        raise TornError(f"incomplete record: {error}") from None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise RunError(
            f"{where}: written by a newer resnet-pipe: the record's schema version is {version}, and this one"
            f" supports up to {SCHEMA_VERSION}",
            "run the job with that version, or use another writer.path; nothing was changed",
        )
    if version != 1:
        end = _CHECKSUM.search(text)
        if end is None or hashlib.sha256(text[: end.start()]).hexdigest() != end[1].decode():
            raise TornError("its checksum does not match")
    try:
        return _parse(data), data["removed"]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise unreadable(where, error) from None


def unreadable(where: str, error: Exception) -> RunError:
    """Return what it means that a record cannot be read."""
    return RunError(
        f"{where}: unreadable ledger record: {error}",
        "restore it from a backup, or remove it together with its shards and run again; nothing was changed",
    )


def _parse(data: dict[str, Any]) -> Record:
    lines = data["sources"]
    names = ("key", "size", "mtime_ns", "rows")
    keys, sizes, versions, rows = (tuple(map(itemgetter(name), lines)) for name in names)
    details = tuple(
        _entry(line) if "failure" in line or "files" in line or "notes" in line else None for line in lines
    )
    canary = data.get("canary")
    return Record(
        chunk=data["chunk"],
        shards=tuple(File(**file) for file in data["shards"]),
        fingerprint=data["fingerprint"],
        committed_at=data["committed_at"],
        entries=Entries(keys, sizes, versions, rows, details),
        canary=Canary(**canary) if canary else None,
        attempt=data.get("attempt", ""),
    )


def _entry(line: dict[str, Any]) -> Entry:
    source, failure = Source(line["key"], line["size"], line["mtime_ns"]), line.get("failure")
    return Entry(
        source,
        line["rows"],
        Failure(source.key, **failure) if failure else None,
        tuple(File(**file) for file in line.get("files", ())),
        line.get("attempts", 1),
        tuple(line.get("notes", ())),
    )
