"""The plan of a run: which sources are new or changed, and in which chunks, according to the ledger."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from resnet_pipe.ledger.record import RETRYABLE, Entries, Entry, Record
from resnet_pipe.reader.listing import PassedOver
from resnet_pipe.reader.source import Source
from resnet_pipe.run.source_table import SourceTable

ATTEMPTS = 3
"""How many runs try a source whose failure may have been the machine's fault."""


@dataclass(frozen=True)
class Chunk:
    """Sources whose results are committed together, as one shard, with the id in its name.

    Attributes:
        sources: to process, sorted by key.
        replaces: the old record, if the chunk is written again.
        gone: keys of the old record whose rows or failures do not stay.
    """

    id: str
    sources: tuple[Source, ...]
    replaces: Record | None = None
    gone: frozenset[str] = frozenset()

    @property
    def kept(self) -> tuple[Entry, ...]:
        """Return the entries of the old record whose rows or failures stay."""
        entries = self.replaces.entries if self.replaces else ()
        return tuple(entry for entry in entries if entry.source.key not in self.gone)

    @property
    def failed_before(self) -> dict[Source, int]:
        """Return the sources that failed and have not changed, with the number of runs that failed."""
        entries = self.replaces.entries.detailed if self.replaces else ()
        return {entry.source: entry.attempts for entry in entries if entry.failure}


@dataclass(frozen=True)
class Division:
    """Share I of N of a job (`--divide I/N`); the other divisions share the output directory with it."""

    index: int
    count: int

    @property
    def tag(self) -> str:
        """Return what names this division's run among those that share the directory, such as `1of4`."""
        return f"{self.index}of{self.count}"

    def owns(self, text: str) -> bool:
        """Tell whether a key or a chunk id belongs to this division. Every text belongs to exactly one."""
        return zlib.crc32(text.encode()) % self.count == self.index - 1


@dataclass(frozen=True)
class Rules:
    """What decides, besides the ledger, whether a source is processed.

    Failed sources are retried although they have not changed; the rows of sources that have disappeared are
    pruned; of a division, only this share of the job is processed.
    """

    retry_failed: bool = False
    prune: bool = False
    division: Division | None = None

    @property
    def tag(self) -> str:
        """Return the tag of the division; empty for a whole job."""
        return self.division.tag if self.division else ""

    def owns(self, text: str) -> bool:
        """Tell whether a key or a chunk id is this run's."""
        return self.division is None or self.division.owns(text)


@dataclass(frozen=True)
class Plan:
    """What a run has to do; by default nothing, as far as one knows that ended before planning.

    Attributes:
        found: sources that are there, those of other divisions included.
        skipped: sources the ledger already has, unchanged, and that are not to be tried again.
        disappeared: sources in the ledger that the reader did not find, or of which only the name is left.
        new: sources that are in no chunk yet.
        rewrites: chunks that are written again because sources of theirs changed or go.
        next_number: of the first new chunk; `prefix` and the number are its id.
        per_chunk: sources in a new chunk.
        failed_before: those among the skipped that failed, or are partial.
        warning: of sources that have disappeared, if it looks like an accident.
        passed_over: files that are not sources because of their extension.
    """

    found: int = 0
    skipped: int = 0
    disappeared: int = 0
    new: SourceTable = field(default_factory=SourceTable)
    rewrites: list[Chunk] = field(default_factory=list)
    next_number: int = 0
    per_chunk: int = 1
    prefix: str = ""
    failed_before: int = 0
    warning: str = ""
    passed_over: PassedOver = field(default_factory=PassedOver)

    @property
    def planned(self) -> int:
        """Return how many sources are to be processed."""
        return len(self.new) + sum(len(chunk.sources) for chunk in self.rewrites)

    @property
    def planned_bytes(self) -> int:
        """Return how many bytes these have together, as listing has told."""
        return self.new.bytes + sum(source.size for chunk in self.rewrites for source in chunk.sources)

    @property
    def done_before(self) -> int:
        """Return how many sources are skipped because they are done."""
        return self.skipped - self.failed_before

    @property
    def chunk_count(self) -> int:
        """Return how many chunks are to be committed."""
        return len(self.rewrites) + -(-len(self.new) // self.per_chunk)

    def sources(self) -> Iterator[Source]:
        """Yield the sources to process."""
        for chunk in self.rewrites:
            yield from chunk.sources
        yield from self.new

    def new_chunks(self) -> Iterator[str]:
        """Yield the ids of the chunks that there are not yet."""
        count = -(-len(self.new) // self.per_chunk)
        return (f"{self.prefix}{self.next_number + index:06d}" for index in range(count))

    def chunks(self) -> Iterator[Chunk]:
        """Yield the chunks in the order in which they are committed."""
        yield from self.rewrites
        sources = iter(self.new)
        for chunk in self.new_chunks():
            yield Chunk(chunk, tuple(islice(sources, self.per_chunk)))


def make_plan(
    sources: Iterable[Source],
    records: Mapping[str, Record],
    per_chunk: int,
    rules: Rules,
    used: Iterable[str] = (),
    packed: bool = False,
) -> Plan:
    """Compare the sources that the reader lists, sorted by key, with the ledger's records, by chunk id.

    No new chunk gets a number up to those of the used ids. Sources are `packed` if they are in archives or
    tables, which are sources themselves while they are broken.
    """
    mine = {chunk: record.entries for chunk, record in records.items() if rules.owns(chunk)}
    others = {key for chunk, record in records.items() if chunk not in mine for key in record.entries.keys}
    known = _Known(mine.values())
    listed, new = _Folders(), SourceTable()
    changed: dict[str, Source] = {}
    broken: set[str] = set()
    found = skipped = failed_before = 0
    for source in sources:
        key, is_absent = source.key, source.is_absent
        found += not is_absent
        listed.add_above(key)
        if packed and key in known.folders and not is_absent:
            broken.add(key)
        place = known.unlisted.pop(key, None)
        if place is None:
            if key not in others and rules.owns(key):
                new.append(source)
            continue
        entry = known.details.get(key)
        if is_absent and (entry is None or entry.failure is None or entry.rows):
            known.unlisted[key] = place  # it has disappeared, although its name is still in a manifest
            continue
        if known.is_as_before(place, source) and (entry is None or not _is_tried_again(entry, rules)):
            skipped += 1
            failed_before += entry is not None and entry.failure is not None
        else:
            changed[key] = source
    disappeared, rewrites = 0, []
    unlisted = set(known.unlisted)
    for chunk, entries in mine.items():
        missing, over = known.settle(unlisted.intersection(entries.keys), listed.keys, broken)
        disappeared += len(missing)
        redo = tuple(changed.pop(key) for key in entries.keys if key in changed)
        gone = over.union((source.key for source in redo), missing if rules.prune else ())
        if gone:
            rewrites.append(Chunk(chunk, redo, records[chunk], frozenset(gone)))
    prefix = f"{rules.tag}-" if rules.tag else ""
    number = _next_number([*records, *used], prefix)
    return Plan(found, skipped, disappeared, new, rewrites, number, per_chunk, prefix, failed_before)


class _Known:
    """The sources of some records, while the listing is compared with them.

    Attributes:
        unlisted: the places of those that the listing has not come to, by key.
        details: the entries that have a failure, files or notes, by key.
        folders: keys of the folders, and of the archives, that sources are in.
    """

    def __init__(self, records: Iterable[Entries]) -> None:
        self.unlisted: dict[str, int] = {}
        self.details: dict[str, Entry] = {}
        self._sizes: list[int] = []  # by place, and so are the versions
        self._versions: list[int] = []
        folders = _Folders()
        for entries in records:
            first = len(self._sizes)
            self.unlisted.update(zip(entries.keys, range(first, first + len(entries)), strict=True))
            self._sizes += entries.sizes
            self._versions += entries.versions
            self.details.update((entry.source.key, entry) for entry in entries.detailed)
            for key in entries.keys:
                folders.add_above(key)
        self.folders = folders.keys

    def is_as_before(self, place: int, source: Source) -> bool:
        """Tell whether a source is what it was when it was processed."""
        return self._sizes[place] == source.size and self._versions[place] == source.version

    def settle(self, keys: set[str], folders: set[str], broken: set[str]) -> tuple[set[str], set[str]]:
        """Return which keys, that were not listed, have disappeared, and which are failures no more.

        What could not be read before, and is an archive of sources now, is no failure; nor is what a manifest
        only named, and names no more. What was in an archive that is broken now, and so a source itself, has
        not disappeared.
        """
        disappeared, over = set[str](), set[str]()
        for key in keys:
            entry = self.details.get(key)
            failed = entry is not None and entry.failure is not None and not entry.rows
            if entry is not None and failed and (key in folders or entry.source.is_absent):
                over.add(key)
            elif broken.isdisjoint(_above(key)):
                disappeared.add(key)
        return disappeared, over


def _is_tried_again(entry: Entry, rules: Rules) -> bool:
    if entry.failure is None:
        return False
    return rules.retry_failed or (entry.failure.error in RETRYABLE and entry.attempts < ATTEMPTS)


def _above(key: str) -> Iterator[str]:
    """Yield the keys of the folders, and of the archive, that a source is in, from the innermost on."""
    while key := key.rpartition("/")[0]:
        yield key


class _Folders:
    """The keys of folders, and of archives, that sources are in."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self._last = ""

    def add_above(self, key: str) -> None:
        """Add what a source is in; that of the source before it, as of sorted ones, takes no time."""
        folder = key.rpartition("/")[0]
        if folder == self._last:
            return
        self._last = folder
        for above in _above(key):
            if above in self.keys:
                return
            self.keys.add(above)


def _next_number(records: Iterable[str], prefix: str) -> int:
    pattern = re.compile(re.escape(prefix) + r"(\d+)")
    numbers = [int(match[1]) for chunk in records if (match := pattern.fullmatch(chunk))]
    return max(numbers, default=-1) + 1
