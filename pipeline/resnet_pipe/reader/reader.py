"""The contract of a reader, and what all of them have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from resnet_pipe.reader.files import Files
from resnet_pipe.reader.listing import PassedOver
from resnet_pipe.reader.reach import Reach
from resnet_pipe.reader.source import FrameCounts, Item, Source, Span
from resnet_pipe.store.address import Address


class Reader(Protocol):
    """Lists sources and decodes them. Small and picklable; workers get a copy."""

    @property
    def files(self) -> Files:
        """Where the bytes of the sources are."""

    @property
    def root(self) -> Path | Address:
        """See `Files.root`."""

    @property
    def reach(self) -> Reach:
        """Which files it might list, whether they are there or not."""

    @property
    def expected_items(self) -> int:
        """A rough guess of how many items a source gives, for sizing chunks and tasks."""

    def load(self) -> None:
        """Import what decoding needs, or raise `ImportError`; a worker does before it reads anything."""

    def list_sources(self, passed_over: PassedOver | None = None) -> Iterator[Source]:
        """Yield every source once, without decoding any; see `Files.list_sources`."""

    def may_split(self, source: Source) -> bool:
        """Tell, from its size alone, whether a source may be worth splitting into spans."""

    def count_items(self, key: str, alive: Callable[[], None]) -> int:
        """Return how many items a source gives, as `read` does if it is whole, without decoding it.

        `alive` is called often; it may raise. Only a video that does not tell otherwise is decoded.

        Raises:
            SourceError: it cannot be read, or gives none.
        """

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
        """Decode one source, or the part of it that is one of its `spans`.

        With `min_side`, frames may come smaller, as long as their shorter side keeps this many pixels; then
        `Item.whole` says how large the image is. `counts` are kept up to date. `alive` is called often
        between two items: there may be much to read, but nothing hangs.

        Raises:
            SourceError: it cannot be read, or not to its end; the items before the damage have been given.
        """

    def sweep(self) -> None:
        """Remove what its copies in processes that are dead have left on this machine."""


@dataclass(frozen=True)
class FileReader:
    """What readers have in common: the sources are `files`, each of which is decoded on its own."""

    files: Files

    @property
    def root(self) -> Path | Address:
        """See `Files.root`."""
        return self.files.root

    @property
    def reach(self) -> Reach:
        """See `Files.reach`."""
        return self.files.reach

    def list_sources(self, passed_over: PassedOver | None = None) -> Iterator[Source]:
        """See `Reader.list_sources`."""
        return self.files.list_sources(passed_over)

    def count_items(self, _key: str, _alive: Callable[[], None]) -> int:
        """See `Reader.count_items`: a source is one item."""
        return 1

    def sweep(self) -> None:
        """See `Reader.sweep`: reading leaves nothing."""
