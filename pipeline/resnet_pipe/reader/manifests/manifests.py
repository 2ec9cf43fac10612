"""The files that manifests name as sources, each in a row of its own."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.files import Folder
from resnet_pipe.reader.listing import PassedOver, empty_places
from resnet_pipe.reader.manifests.rows import read_rows
from resnet_pipe.reader.reach import Reach
from resnet_pipe.reader.source import NOTHING, Carried, Source, version_of
from resnet_pipe.store.names import key_of, path_of

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_OF_ROW = "//"
"""In the key of a row that names nothing, between the manifest's and its number. No path in order has it."""
_LONGEST_PATH, _LONGEST_NAME = 4096, 255
"""Bytes, of Linux."""


@dataclass(frozen=True)
class Manifests:
    """The files below a directory that manifests name in a column, whatever their extensions.

    `named` are these files, and `lists` the manifests. Relative paths start from the root of `named`. A row
    that names nothing, or nothing below that root, is a source too: reading it fails. `carry` are other
    columns, which come with the files.
    """

    lists: Folder
    column: str
    named: Folder
    carry: tuple[str, ...] = ()

    @property
    def root(self) -> Path:
        """See `Files.root`."""
        return self.named.root

    @property
    def reach(self) -> Reach:
        """See `Files.reach`: which manifests it might read."""
        return self.lists.reach

    @property
    def extensions(self) -> frozenset[str]:
        """See `Files.extensions`; a manifest may name others."""
        return self.named.extensions

    def list_sources(self, passed_over: PassedOver | None = None) -> Iterator[Source]:
        """See `Files.list_sources`. What is named twice is one source, with what comes with the first row.

        Raises:
            RunError: a directory cannot be listed, or a manifest cannot be read.
            UsageError: a manifest has no such columns.
        """
        found: dict[str, str] = {}
        """Key -> what comes with it, as JSON, in a third of the memory; empty if nothing does."""
        for manifest in self.lists.list_sources(passed_over):
            path = path_of(self.lists.root, manifest.key)
            for number, value, carried in read_rows(path, self.column, self.carry):
                key = self._key(value) if isinstance(value, str) else None
                key = f"{manifest.key}{_OF_ROW}{number}" if key is None else key
                found.setdefault(key, carried.to_text() if self.carry else "")
        for key in sorted(found):
            yield self._identified(key, found[key])

    def empty_places(self) -> Iterator[tuple[str, str]]:
        """See `Files.empty_places`."""
        return empty_places(self.root, self.lists.entries)

    def is_gone(self) -> bool:
        """See `Files.is_gone`."""
        return self.named.is_gone()

    def announce(self, key: str) -> None:
        """See `Files.announce`."""
        if self._refusal(key) is None:
            self.named.announce(key)

    def read(self, key: str, alive: Callable[[], None]) -> bytes:
        """See `Files.read`."""
        refusal = self._refusal(key)
        if refusal is not None:
            raise refusal
        return self.named.read(key, alive)

    def carried(self, _key: str, _alive: object = None) -> Carried:
        """See `Files.carried`: listing tells, so that no worker reads a manifest."""
        return NOTHING

    def as_files(self, sources: Sequence[Source], folder: Path, _alive: object = None) -> list[Path]:
        """See `Files.as_files`; they are their own."""
        return [
            path_of(self.root, source.key) if self._refusal(source.key) is None else folder / "refused"
            for source in sources
        ]

    def _key(self, text: str) -> str | None:
        """Return the key of what a row names, None if that cannot be the name of a file.

        It is the path below the root; of what is not below it, the whole path, and of an address the address.
        """
        try:
            name = os.fsencode(text)
        except UnicodeEncodeError:  # half a character, which JSON can hold
            return None
        if not text.strip() or b"\0" in name or len(name) > _LONGEST_PATH:
            return None
        if max(map(len, name.split(b"/"))) > _LONGEST_NAME:
            return None
        text = os.fsdecode(name)
        if _ADDRESS.match(text):
            return key_of(text)
        # As text, as the paths of a job: `..` takes back the segment before it.
        path = "/" + os.path.normpath(text if text.startswith("/") else f"{self.root}/{text}").lstrip("/")
        below = "/" if self.root == Path("/") else f"{self.root}/"
        return None if path in (below, str(self.root)) else key_of(path.removeprefix(below))

    def _identified(self, key: str, text: str) -> Source:
        """Return the source of a key; it is absent if it cannot be read, which reading it will tell.

        What comes with it changes its version; it is given as JSON.
        """
        carried = Carried.of_text(text) if text else None
        if self._refusal(key) is None:
            with suppress(OSError):
                status = path_of(self.root, key).stat()
                if not stat.S_ISDIR(status.st_mode):
                    version = status.st_mtime_ns
                    if carried is not None:
                        version = version_of(version, json.dumps(carried.values))
                    return Source(key, status.st_size, version, carried)
        return Source(key, 0, 0, carried)

    def _refusal(self, key: str) -> SourceError | None:
        """Return why a source cannot be read, whatever there is on the disk."""
        if _ADDRESS.match(key):
            return SourceError("reader", "unsupported", "an address; reader.column must hold paths of files")
        manifest, of_row, row = key.partition(_OF_ROW)
        if of_row:
            return SourceError("reader", "missing", f"row {row} of {manifest} names no file")
        if key.startswith("/"):
            outside = f"not below {self.root}; reader.root says where files may be"
            return SourceError("reader", "unsupported", outside)
        return None
