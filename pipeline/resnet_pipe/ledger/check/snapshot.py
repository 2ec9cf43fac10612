"""What the ledger says at any instant: also while a chunk is committed, or results are switched.

Of a chunk whose commit has begun, or was cut off, the pending record counts: its files are in the staging
directory or in place already, and the next run completes it. While results are switched, the new ones count.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from resnet_pipe.errors import RunError
from resnet_pipe.ledger import record as records
from resnet_pipe.ledger.check.committed import Stored
from resnet_pipe.ledger.ledger import LEDGER, Ledger, chunk_of
from resnet_pipe.store.disk import Disk, Pending
from resnet_pipe.store.names import key_of
from resnet_pipe.writer.registry import SECTIONS


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

    ledgers: Sequence[Ledger]
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
            if known is None:
                self.torn.append(path)
                continue
            record, obsolete = known
            self.pending.append(path)
            self.removed.update(obsolete)
            return Stored(record, path, (Disk(one.staging), *self._places))
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


def shards_in(output: Disk, kinds: Iterable[str]) -> set[str]:
    """Return the names of everything in an output directory that may be of a record.

    The kinds are those of the writers with files for single sources. OSError if a directory cannot be listed.
    """
    found = {file.name for file in output.list("") if file.name.startswith("part-")}
    for kind in kinds:
        suffixes = SECTIONS[kind].suffixes
        for directory, _, names in os.walk(output.root / kind, onerror=_refuse):
            place = Path(directory).relative_to(output.root)
            found.update(key_of(str(place / name)) for name in names if name.endswith(suffixes))
    return found


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
