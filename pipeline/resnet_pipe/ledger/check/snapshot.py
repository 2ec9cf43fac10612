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
from resnet_pipe.ledger.ledger import Ledger
from resnet_pipe.reader.source import key_of
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
        """Yield what counts of each chunk, sorted by chunk.

        Raises:
            OSError: a ledger cannot be listed.
        """
        pending: dict[str, list[tuple[Path, Path]]] = {}
        for ledger in self.ledgers:  # before the records that they become
            for path, staging in ledger.pending():
                pending.setdefault(staging.name, []).append((path, staging))
        names = {name for ledger in self.ledgers for name in listed(ledger.directory)}
        finals = {name[:-5] for name in names if name.endswith(".json") and not name.startswith(".")}
        for chunk in sorted(finals | pending.keys()):
            # A run may have committed or removed it since it was listed.
            found = self._pending(pending.get(chunk, ())) or self._final(chunk)
            if found is not None:
                yield found

    def _pending(self, paths: Iterable[tuple[Path, Path]]) -> Stored | Broken | None:
        for path, staging in paths:
            try:
                known = records.read_pending(path)
            except RunError as error:
                if os.path.lexists(path):
                    return Broken(path, staging.name, error)
                continue
            if known is None:
                self.torn.append(path)
                continue
            record, obsolete = known
            self.pending.append(path)
            self.removed.update(obsolete)
            return Stored(record, path, (staging, *self._outputs))
        return None

    def _final(self, chunk: str) -> Stored | Broken | None:
        for ledger in self.ledgers:
            path = ledger.directory / f"{chunk}.json"
            if ledger is self.ledgers[-1] and chunk in self.gone:
                continue
            try:
                return Stored(records.read(path), path, self._outputs)
            except RunError as error:
                if os.path.lexists(path):
                    return Broken(path, chunk, error)
        return None

    @property
    def _outputs(self) -> tuple[Path, ...]:
        return tuple(ledger.output for ledger in self.ledgers)


def listed(directory: Path) -> list[str]:
    """Return the names in a directory; none if it does not exist.

    Raises:
        OSError: it cannot be listed.
    """
    try:
        return [path.name for path in directory.iterdir()]
    except FileNotFoundError:
        return []


def shards_in(output: Path, kinds: Iterable[str]) -> set[str]:
    """Return the names of everything in an output directory that may be of a record.

    Args:
        output: the directory.
        kinds: of the writers with files for single sources.

    Raises:
        OSError: a directory cannot be listed.
    """
    found = {key_of(name) for name in listed(output) if name.startswith("part-")}
    for kind in kinds:
        suffixes = SECTIONS[kind].suffixes
        for directory, _, names in os.walk(output / kind, onerror=_refuse):
            place = Path(directory).relative_to(output)
            found.update(key_of(str(place / name)) for name in names if name.endswith(suffixes))
    return found


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
