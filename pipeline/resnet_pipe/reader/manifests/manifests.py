"""The files that manifests name as sources, each in a row of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.files import Containers
from resnet_pipe.reader.images.format import EXTENSIONS
from resnet_pipe.reader.listing import PassedOver
from resnet_pipe.reader.manifests.ahead import ahead
from resnet_pipe.reader.manifests.named import Named
from resnet_pipe.reader.manifests.rows import read_rows
from resnet_pipe.reader.reach import Reach
from resnet_pipe.reader.source import NOTHING, Carried, Source, version_of
from resnet_pipe.store.address import Address
from resnet_pipe.store.names import key_of

OF_ROW = "//"
"""In the key of a row that names nothing, between the manifest's and its number. No path in order has it."""
_NO_MORE = (0, "")
"""Of most rows, which say no version, and with which nothing comes."""
_LONGEST_PATH = 4096
"""Bytes, of Linux."""


@dataclass(frozen=True)
class Manifests:
    """The files below a root that manifests name in a column, whatever their extensions.

    `named` are these files, and `lists` the manifests. Relative paths start from the root of `named`. A row
    that names nothing, or nothing below that root, is a source too: reading it fails. With `version`, another
    column has the versions of the files, and no server is asked about them then. `carry` are columns that
    come with the files.
    """

    lists: Containers
    column: str
    named: Named
    version: str | None = None
    carry: tuple[str, ...] = ()

    @property
    def root(self) -> Path | Address:
        """See `Files.root`."""
        return self.named.root

    @property
    def reach(self) -> Reach:
        """See `Files.reach`: which manifests it might read."""
        return self.lists.reach

    @property
    def extensions(self) -> frozenset[str]:
        """See `Files.extensions`; a manifest may name others."""
        return EXTENSIONS

    def list_sources(self, passed_over: PassedOver | None = None) -> Iterator[Source]:
        """See `Files.list_sources`. What is named twice is one source; the last row tells the rest.

        Raises:
            RunError: a directory cannot be listed, a manifest cannot be read, or the server of what it names
                cannot be reached.
            UsageError: a manifest has no such columns.
        """
        columns = self._columns
        if self.version is not None:
            columns["reader.version"] = self.version
        found: dict[str, tuple[int, str]] = {}
        """Key -> version, and what comes with it as JSON, in a third of the memory."""
        for manifest in self.lists.list_sources(passed_over):
            for number, values, carried in read_rows(self.lists, manifest.key, columns, self.carry):
                names = values if self.version is None else values[:-1]
                key = self._key_of_row(f"{manifest.key}{OF_ROW}{number}", *names)
                version = 0 if self.version is None else _version_of(values[-1])
                found[key] = (version, carried.to_text()) if version or self.carry else _NO_MORE
        keys = sorted(found)
        sources: Iterator[Source]
        if self.version is not None:
            sources = (Source(key, 0, found[key][0] if self._may_be(key) else 0) for key in keys)
        elif self.named.at_once > 1:
            sources = ahead(self._identified, keys, self.named.at_once)
        else:
            sources = map(self._identified, keys)
        if self.carry:
            sources = (_with_carried(source, found[source.key][1]) for source in sources)
        yield from sources

    def _may_be(self, key: str) -> bool:
        """Tell whether there may be a file, without asking a server; so one that is gone keeps its rows."""
        return not self._refusal(key) and (self.named.at_once > 1 or not self._identified(key).is_absent)

    @property
    def _columns(self) -> dict[str, str]:
        """Return the columns that say what a row names, by the keys of the job that say them."""
        return {"reader.column": self.column}

    def _key_of_row(self, row: str, name: object) -> str:
        """Return the key of what a row names: its own if it names nothing."""
        key = self._key(name) if isinstance(name, str) else None
        return row if key is None else key

    def empty_places(self) -> Iterator[tuple[str, str]]:
        """See `Files.empty_places`."""
        root = f"{self.root}".rstrip("/") + "/"
        if self.named.is_empty():
            yield str(self.root), ""
        for place, _ in self.lists.empty_places():
            if place.rstrip("/").startswith(root):  # files may have been beside the manifests
                yield place, f"{key_of(place.rstrip('/').removeprefix(root))}/"

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

    def as_files(self, sources: Sequence[Source], folder: Path, alive: Callable[[], None]) -> list[Path]:
        """See `Files.as_files`; there is no file of what is refused."""
        read = [source for source in sources if self._refusal(source.key) is None]
        refused = [folder / "refused"] * (len(sources) - len(read))
        return [*self.named.as_files(read, folder, alive), *refused]

    def _key(self, text: str) -> str | None:
        """Return the key of what a row names, None if that cannot be the name of a file."""
        try:
            name = os.fsencode(text)
        except UnicodeEncodeError:  # half a character, which JSON can hold
            return None
        if not text.strip() or b"\0" in name or len(name) > _LONGEST_PATH:
            return None
        return self.named.key_of(os.fsdecode(name))

    def _identified(self, key: str) -> Source:
        """Return the source of a key; it is absent if it cannot be read, which reading it will tell."""
        return Source(key, 0, 0) if self._refusal(key) else self.named.identify(key)

    def _refusal(self, key: str) -> SourceError | None:
        """Return why a source cannot be read, whatever there is."""
        refusal = self.named.refusal(key)
        if refusal:
            return SourceError("reader", "unsupported", refusal)
        manifest, of_row, row = key.partition(OF_ROW)
        if of_row:
            return SourceError("reader", "missing", f"row {row} of {manifest} names no file")
        return None


def _with_carried(source: Source, text: str) -> Source:
    """Return a source with what comes with it, which is given as JSON, and changes its version."""
    carried = Carried.of_text(text)
    if source.is_absent:
        return source._replace(carried=carried)
    return Source(source.key, source.size, version_of(source.version, json.dumps(carried.values)), carried)


def _version_of(value: object) -> int:
    """Return the version that a row says, whatever it is made of; JSON can hold half a character."""
    return version_of(str(value).encode(errors="backslashreplace").decode())
