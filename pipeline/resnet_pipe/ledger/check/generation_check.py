"""One generation of results compared with its ledger: the current ones, or new ones in progress.

What the ledger says is known at any instant, also while a chunk is committed, or results are switched. Of a
chunk whose commit has begun, or was cut off, the pending record counts: its files are in the staging
directory or in place already, and the next run completes it. While results are switched, the new ones count.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from resnet_pipe.errors import RunError
from resnet_pipe.ledger import fingerprint
from resnet_pipe.ledger import record as records
from resnet_pipe.ledger.check.committed import Examiner, Stored
from resnet_pipe.ledger.check.findings import Counts, Kind, Problem
from resnet_pipe.ledger.check.merged_check import WRITER_KIND
from resnet_pipe.ledger.fingerprint import Noted
from resnet_pipe.ledger.ledger import LEDGER, DirectoryLedger, chunk_of
from resnet_pipe.store.disk import Disk, Pending
from resnet_pipe.store.names import key_of
from resnet_pipe.writer.registry import SECTIONS

_FRESH = "or run the job with --fresh, which makes all rows again"
_TWICE = "remove the files that one of the two records lists in `shards` and `files`, then run the job again"
_UNKNOWN = (
    "restore their records from a backup; or move the files to another directory: no record accounts for"
    " their rows, and a run refuses shards that are not in its ledger"
)


@dataclass(frozen=True)
class Broken:
    """A record that cannot be used."""

    path: Path
    chunk: str
    error: RunError


@dataclass
class Ledgers:
    """The ledgers of one generation of results.

    Attributes:
        ledgers: one; while results are switched, that of the new ones and that of before: the first that
            has a record of a chunk counts.
        gone: chunks of the last ledger that do not count any more.
        removed: names of files that a commit or a switch is about to remove.
        torn: pending records whose writing was cut off.
        pending: those that are whole.
    """

    ledgers: Sequence[DirectoryLedger]
    gone: frozenset[str] = frozenset()
    removed: set[str] = field(default_factory=set)
    torn: list[Path] = field(default_factory=list)
    pending: list[Path] = field(default_factory=list)

    def read(self) -> Iterator[Stored | Broken]:
        """Yield what counts of each chunk, sorted by chunk; OSError if a ledger cannot be listed."""
        pending: dict[str, list[tuple[Disk, Pending]]] = {}
        for ledger in self.ledgers:  # before the records that they become
            for one in ledger.store.pending(LEDGER):
                pending.setdefault(one.record, []).append((ledger.store, one))
        finals = {name for ledger in self.ledgers for name in ledger.names()}
        for name in sorted(finals | pending.keys()):
            # A run may have committed or removed it since it was listed.
            found = self._pending(pending.get(name, ())) or self._final(name)
            if found is not None:
                yield found

    def _pending(self, begun: Iterable[tuple[Disk, Pending]]) -> Stored | Broken | None:
        for store, one in begun:
            path = store.path(one.name)
            try:
                known = records.read_pending(store, one.name)
            except RunError as error:
                if os.path.lexists(path):
                    return Broken(path, chunk_of(one.record), error)
                continue
            if known is not None:
                record, obsolete = known
                self.pending.append(path)
                self.removed.update(obsolete)
                return Stored(record, path, (Disk(one.staging), *self._places))
            self.torn.append(path)
        return None

    def _final(self, name: str) -> Stored | Broken | None:
        for ledger in self.ledgers:
            path = ledger.store.path(name)
            if ledger is self.ledgers[-1] and chunk_of(name) in self.gone:
                continue
            try:
                return Stored(records.read(ledger.store, name), path, self._places)
            except RunError as error:
                if os.path.lexists(path):
                    return Broken(path, chunk_of(name), error)
        return None

    @property
    def _places(self) -> tuple[Disk, ...]:
        return tuple(ledger.store for ledger in self.ledgers)


class Results:
    """Looks at one generation of results, once; problems are named from the directory whose check it is."""

    def __init__(self, output: Path, ledgers: Ledgers, examiner: Examiner) -> None:
        self._output = output
        self._ledgers = ledgers
        self._examiner = examiner
        self._chunks: dict[str, str] = {}
        """Key of a source -> the chunk that it was found in."""
        self.counts = Counts()
        self.problems: list[Problem] = []

    def look(self) -> None:
        """Fill in counts and problems; OSError if a directory cannot be listed."""
        stores = [ledger.store for ledger in self._ledgers.ledgers]
        noted, has_fingerprint = self._fingerprint(stores)
        # Before the ledger is read: what a run commits meanwhile is no stranger.
        unknown = [_found_in(store, noted) for store in stores]
        broken: list[Broken] = []
        for stored in self._ledgers.read():
            if isinstance(stored, Broken):
                broken.append(stored)
                self._add("record", stored.path, stored.error.problem, stored.error.remedy or "")
                continue
            for names in unknown:
                names.difference_update(file.name for file in stored.record.files)
            self._look_at(stored, noted)
        if self.counts.records and not has_fingerprint:
            path = stores[-1].path(fingerprint.NAME)
            text = "missing: it says how the rows were made"
            self._add("fingerprint", path, text, f"restore it from a backup; {_FRESH}")
        for store, names in zip(stores, unknown, strict=True):
            self._strangers(store, names, broken)

    def _fingerprint(self, stores: list[Disk]) -> tuple[Noted | None, bool]:
        """Return the recorded fingerprint if it can be read, and whether there is one."""
        for store in stores:
            try:
                noted = fingerprint.read(store)
            except RunError as error:
                self._add("fingerprint", store.path(fingerprint.NAME), error.problem, error.remedy or "")
                return None, True
            if noted is not None:
                return noted, True
        return None, False

    def _look_at(self, stored: Stored, noted: Noted | None) -> None:
        record = stored.record
        prefix = self._name(stored.places[-1].root)
        problems, size = self._examiner.examine(stored, "" if prefix == "." else f"{prefix}/")
        self.problems += problems
        self.counts.records += 1
        self.counts.sources += len(record.entries)
        self.counts.rows += record.rows
        self.counts.files += len(record.files)
        self.counts.bytes += size
        if noted is not None and record.fingerprint not in noted.digests:
            text = "its rows were made by a job whose fingerprint is not the one in fingerprint.json"
            self._add("fingerprint", stored.path, text, f"restore both from the same backup; {_FRESH}")
        for key in record.entries.keys:
            other = self._chunks.get(key)
            self._chunks[key] = record.chunk
            if other is not None:
                self._add("twice", stored.path, f"{key} is also in the record of chunk {other}", _TWICE)

    def _strangers(self, store: Disk, names: set[str], broken: list[Broken]) -> None:
        """Add the files that are in no record, but those that may be of a record that cannot be read."""
        of_broken = tuple(f"part-{each.chunk}." for each in broken)
        for name in sorted(names - self._ledgers.removed):
            if broken and (name.startswith(of_broken) or not name.startswith("part-")):
                continue
            path = store.path(name)
            if os.path.lexists(path):
                self._add("unknown", path, "not in any record of the ledger", _UNKNOWN)

    def _add(self, kind: Kind, path: Path, text: str, remedy: str) -> None:
        name = self._name(path)
        self.problems.append(Problem(kind, name, text.removeprefix(str(path)).lstrip(": "), remedy))

    def _name(self, path: Path) -> str:
        return key_of(str(path.relative_to(self._output)))


def _found_in(output: Disk, noted: Noted | None) -> set[str]:
    """Return the names of everything in an output directory that may be of a record.

    Those are shards, and files for single sources, of the writers that made the rows. OSError if a directory
    cannot be listed.
    """
    found = {file.name for file in output.list("") if file.name.startswith("part-")}
    for setting, kind in noted.settings.items() if noted else ():
        if not (WRITER_KIND.fullmatch(setting) and kind in SECTIONS and SECTIONS[kind].suffixes):
            continue
        for directory, _, names in os.walk(output.root / kind, onerror=_refuse):
            place, ours = Path(directory).relative_to(output.root), SECTIONS[kind].suffixes
            found.update(key_of(str(place / name)) for name in names if name.endswith(ours))
    return found


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
