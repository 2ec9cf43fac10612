"""The files that a writer makes of all chunks together: of everything that is committed, whoever did it.

A note beside the ledger, `merged.json`, says of which records they are made, and their SHA-256. It goes
before one of them changes, and comes when all are in place: without it, or if records have changed since, the
next run makes them again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from resnet_pipe.errors import RunError
from resnet_pipe.ledger import record as records
from resnet_pipe.ledger.ledger import LEDGER, Ledger
from resnet_pipe.store import atomic
from resnet_pipe.store.digest import file_sha256
from resnet_pipe.store.names import path_of
from resnet_pipe.store.store import HOME
from resnet_pipe.writer.writer import Committed, Target, WriterSection

NAME = f"{HOME}/merged.json"
SCHEMA_VERSION = 1
_STAGING = f"{LEDGER}/merged.json"
"""The name by which the store gives a directory to make them in; there is no such record."""


@dataclass(frozen=True)
class Noted:
    """What the note says: of which records the files are made, by `digest_of`, and the SHA-256 of each."""

    records: str
    files: dict[str, str]


def read(ledger: Ledger) -> Noted | None:
    """Return what is noted of a directory; None if nothing is, or it cannot be read."""
    try:
        data = json.loads(ledger.store.read(NAME))
        if data["schema_version"] != SCHEMA_VERSION:
            return None
        return Noted(data["records"], {file["name"]: file["sha256"] for file in data["files"]})
    except (OSError, ValueError, LookupError, TypeError):
        return None  # they are made again


def digest_of(ledger: Ledger) -> str:
    """Return a hash of all records, hexadecimal."""
    digest = hashlib.sha256()
    names = [*ledger.names()]
    for name, text in zip(names, ledger.store.read_all(names), strict=True):
        digest.update(f"{name} {hashlib.sha256(text).hexdigest()}\n".encode())
    return digest.hexdigest()


def write(ledger: Ledger, writers: Sequence[tuple[WriterSection, Target]], go_on: Callable[[], None]) -> None:
    """Make the merged files of some writers, unless they are there already; those of others go.

    The caller holds the directory. Before each chunk `go_on` is called, which may raise. Targets are of the
    output directory.

    Raises:
        RunError: a shard is damaged; the files of before are still there.
        OSError: the disk refuses something.
    """
    wanted = [(section, target) for section, target in writers if section.merged]
    if not wanted and not ledger.store.look(NAME):
        return
    names = [name for section, _ in wanted for name in section.merged]
    with ledger.store.alone():
        noted, digest = read(ledger), digest_of(ledger)
        found = {name: ledger.store.sha256(name) for name in names}
        if noted == Noted(digest, {name: sha256 for name, sha256 in found.items() if sha256}):
            return
        obsolete = sorted(noted.files.keys() - set(names)) if noted else []
        staging = ledger.store.stage(_STAGING)
        try:
            for section, target in wanted:
                for name in section.merged:
                    atomic.make_folder((staging / name).parent, staging)
                _make(section, replace(target, directory=staging), ledger, go_on)
            hashes = {name: file_sha256(staging / name) for name in names}
            ledger.store.delete([NAME])
            ledger.store.place(_STAGING, names, obsolete)
        finally:
            ledger.store.unstage(_STAGING)
        if wanted:
            files = [{"name": name, "sha256": sha256} for name, sha256 in hashes.items()]
            note = {"schema_version": SCHEMA_VERSION, "records": digest, "files": files}
            ledger.store.put(NAME, [json.dumps(note, indent=1).encode()])


def remove(ledger: Ledger) -> None:
    """Remove the merged files, whose chunks are about to go."""
    if noted := read(ledger):
        ledger.store.delete([NAME])
        ledger.store.delete(noted.files)


def _make(section: WriterSection, target: Target, ledger: Ledger, go_on: Callable[[], None]) -> None:
    reached = Path()

    def chunks() -> Iterator[Committed]:
        nonlocal reached
        for chunk in _committed(section, ledger):
            go_on()
            reached = chunk.shard
            yield chunk

    try:
        section.finish(target, chunks())
    except (ValueError, LookupError, TypeError) as error:
        raise RunError(
            f"{section.merged[-1]} cannot be made: {reached}: {type(error).__name__}: {error}",
            f"resnet-pipe check {ledger.output} names what is damaged; all that is committed is kept, and the"
            " next run makes that file",
        ) from None


def _committed(section: WriterSection, ledger: Ledger) -> Iterator[Committed]:
    """Yield the chunks whose files are all there; of the others, the sources are new again."""
    for name in ledger.names():
        record = records.read(ledger.store, name)
        shards = [file.name for file in record.shards if file.name.endswith(str(section.shard_suffix))]
        if not shards or not ledger.is_intact(record):
            continue
        failures = {
            entry.source.key: f"{entry.failure.error}: {entry.failure.message}"
            for entry in record.entries
            if entry.failure is not None and not entry.rows
        }
        yield Committed(path_of(ledger.store.gather(shards[:1]), shards[0]), failures)
