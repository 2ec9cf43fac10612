"""The files that a writer makes of all chunks together: of everything that is committed, whoever did it.

A note beside the ledger, `merged.json`, says of which records they are made, and their SHA-256. Before one of
them changes, it says only who is about to make them; it is complete when all are in place. Until then, or if
records have changed since, the next run makes them again. Where two make them at once, on two machines, who
does not find his own note any more in the end begins again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

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
_Wanted = Sequence[tuple[WriterSection, Target]]


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


def write(ledger: Ledger, writers: _Wanted, go_on: Callable[[], None]) -> None:
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
    with ledger.store.alone():
        while not _made(ledger, wanted, go_on):
            pass


def _made(ledger: Ledger, wanted: _Wanted, go_on: Callable[[], None]) -> bool:
    """Make the files of writers, unless they are there; False if somebody else has begun to, meanwhile."""
    store, names = ledger.store, [name for section, _ in wanted for name in section.merged]
    mark = store.mark(NAME)
    noted, digest = read(ledger), digest_of(ledger)
    found = {name: store.sha256(name) for name in names}
    if noted == Noted(digest, {name: sha256 for name, sha256 in found.items() if sha256}):
        return True
    obsolete = sorted(noted.files.keys() - set(names)) if noted else []
    staging = store.stage(_STAGING)
    try:
        for section, target in wanted:
            for name in section.merged:
                atomic.make_folder((staging / name).parent, staging)
            _make(section, replace(target, directory=staging), ledger, go_on)
        hashes = {name: file_sha256(staging / name) for name in names}
        begun = store.exchange(NAME, _text({"made_by": uuid4().hex}), mark)
        if begun is None:
            return False
        store.place(_STAGING, names, obsolete)
    finally:
        store.unstage(_STAGING)
    if not wanted:
        store.delete([NAME])
        return True
    files = [{"name": name, "sha256": sha256} for name, sha256 in hashes.items()]
    return store.exchange(NAME, _text({"records": digest, "files": files}), begun) is not None


def _text(note: Mapping[str, object]) -> list[bytes]:
    return [json.dumps({"schema_version": SCHEMA_VERSION, **note}, indent=1).encode()]


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
            for entry in record.entries.detailed
            if entry.failure is not None and not entry.rows
        }
        yield Committed(path_of(ledger.store.gather(shards[:1]), shards[0]), failures)
