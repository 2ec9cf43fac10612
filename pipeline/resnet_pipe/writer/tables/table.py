"""What the writers of tables have in common: their section, and how shards are merged."""

from __future__ import annotations

import heapq
from abc import abstractmethod
from collections.abc import Collection, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from resnet_pipe.writer.section import WriterSection
from resnet_pipe.writer.writer import Portion, Target, Writer, Written

Block = tuple[str, Any]
"""The key of a source, and consecutive rows of it in the form that the format copies them in."""


class TableSection(WriterSection):
    """What the sections of these writers have in common."""

    aggregate: Annotated[
        Literal["none", "mean", "max"],
        Field(description="one row per source: the mean or the maximum over its frames"),
    ] = "none"

    @property
    def over_frames(self) -> Literal["mean", "max"] | None:
        """How the frames of a source become one row; None if each is one."""
        return None if self.aggregate == "none" else self.aggregate

    @abstractmethod
    def blocks(self, target: Target, directory: Path) -> Iterator[Block]:
        """Yield all rows of the target's shard in another directory, in order and in little memory."""

    def merge(self, target: Target, portions: Sequence[Portion]) -> None:
        """Write a chunk's shard from the rows of others.

        They are copied as their format has them, not by way of Arrow: to parse and print numbers again would
        take eight times as long, and one whose text is almost in the middle between two float32 could come
        back as the wrong one of them.
        """
        merged: Any = self.open(target)  # what has blocks is opened as a `TableWriter`
        kept = [_without(self.blocks(target, directory), drop) for directory, drop in portions]
        for _, rows in heapq.merge(*kept, key=itemgetter(0)):
            merged.copy(rows)
        merged.close()


def _without(blocks: Iterator[Block], drop: Collection[str]) -> Iterator[Block]:
    return (block for block in blocks if block[0] not in drop)


class TableWriter(Writer):
    """A shard that is being written."""

    def close(self) -> Written:
        """Complete the file."""
        self.discard()
        return Written()

    @abstractmethod
    def copy(self, rows: Any) -> None:  # noqa: ANN401 - in the form of the format
        """Add the rows of a block after those already there."""
