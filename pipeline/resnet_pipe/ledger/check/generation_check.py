"""One generation of results compared with its ledger: the current ones, or new ones in progress."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from resnet_pipe.errors import RunError
from resnet_pipe.ledger import fingerprint
from resnet_pipe.ledger.check.committed import Examiner, Stored
from resnet_pipe.ledger.check.findings import Counts, Kind, Problem
from resnet_pipe.ledger.check.snapshot import Broken, Ledgers, shards_in
from resnet_pipe.ledger.fingerprint import Noted
from resnet_pipe.store.disk import Disk
from resnet_pipe.store.names import key_of
from resnet_pipe.writer.registry import SECTIONS

_KIND = re.compile(r"writer(\.\d+)?\.kind")
_FRESH = "or run the job with --fresh, which makes all rows again"
_TWICE = "remove the files that one of the two records lists in `shards` and `files`, then run the job again"
_UNKNOWN = (
    "restore their records from a backup; or move the files to another directory: no record accounts for"
    " their rows, and a run refuses shards that are not in its ledger"
)


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
        unknown = [shards_in(store, _own_kinds(noted)) for store in stores]
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
        for key in (entry.source.key for entry in record.entries):
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


def _own_kinds(noted: Noted | None) -> Iterator[str]:
    """Yield the kinds of writers, of those that made the rows, with files for single sources."""
    for name, value in noted.settings.items() if noted else ():
        if _KIND.fullmatch(name) and value in SECTIONS and SECTIONS[value].suffixes:
            yield value
