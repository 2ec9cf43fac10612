"""The contract of a reader, and what those of files have in common: which files there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from resnet_pipe.reader.listing import list_files
from resnet_pipe.reader.passed_over import PassedOver
from resnet_pipe.reader.reach import Reach
from resnet_pipe.reader.source import FrameCounts, Item, Source, Span


class Reader(Protocol):
    """Lists sources and decodes them. Small and picklable; workers get a copy."""

    @property
    def root(self) -> Path:
        """The directory that the keys of the sources start from."""

    @property
    def reach(self) -> Reach:
        """Which files it might list, whether they are there or not."""

    @property
    def expected_items(self) -> int:
        """A rough guess of how many items a source gives, for sizing chunks and tasks."""

    def load(self) -> None:
        """Import what decoding needs, or raise `ImportError`; a worker does before it reads anything."""

    def list_sources(self, passed_over: PassedOver | None = None) -> Iterator[Source]:
        """Yield every source once, sorted by key, without opening any; count others in `passed_over`.

        Raises:
            RunError: a directory cannot be listed.
        """

    def may_split(self, source: Source) -> bool:
        """Tell, from its size alone, whether a source may be worth splitting into spans."""

    def spans(self, source: Source, alive: Callable[[], None]) -> tuple[Span, ...]:
        """Return the parts in which a source is best read, in order; none if it is read as a whole.

        `alive` is called often: it may take long, but nothing hangs.
        """

    def read(
        self,
        key: str,
        min_side: int | None,
        span: Span | None,
        counts: FrameCounts | None,
        alive: Callable[[], None],
    ) -> Iterator[Item]:
        """Decode one source, or one part of it.

        Args:
            key: of the source.
            min_side: if given, frames may come smaller, as long as their shorter side keeps this many pixels.
            span: one of `spans`; None for the whole source.
            counts: kept up to date while reading.
            alive: called often between two items: there may be much to read, but nothing hangs.

        Raises:
            SourceError: it cannot be read, or not to its end; the items before the damage have been given.
        """


@dataclass(frozen=True)
class FileReader:
    """Lists the files that a job names: `entries`, absolute paths and patterns, all below `root`."""

    extensions: ClassVar[frozenset[str]]
    """Of the files that are taken from a directory. What is in a file is told from its content alone."""

    root: Path
    entries: tuple[Path, ...]
    recursive: bool

    @property
    def reach(self) -> Reach:
        """Which files it might list."""
        return Reach(self.entries, self.recursive, self.extensions)

    def list_sources(self, passed_over: PassedOver | None = None) -> Iterator[Source]:
        """See `Reader.list_sources`."""
        return list_files(self.entries, self.recursive, self.extensions, passed_over)
