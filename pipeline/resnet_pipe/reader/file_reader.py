"""What readers of files have in common: which files there are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from resnet_pipe.reader.listing import list_files
from resnet_pipe.reader.passed_over import PassedOver
from resnet_pipe.reader.reach import Reach
from resnet_pipe.reader.source import Source


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
