"""What manifests may name: the contract, and files below a directory."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from resnet_pipe.reader.files import Folder
from resnet_pipe.reader.images.format import EXTENSIONS
from resnet_pipe.reader.source import Source
from resnet_pipe.store.address import Address
from resnet_pipe.store.names import key_of, path_of
from resnet_pipe.store.web_address import without_secrets

_ADDRESS = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*://")
_LONGEST_NAME = 255
"""Bytes, of Linux."""


class Named(Protocol):
    """The files that rows of manifests may name: those below a root. Small and picklable.

    The key of one is its path below the root. Of what is elsewhere, it is the whole path, or the address
    without secrets.
    """

    at_once: ClassVar[int]
    """How many files are looked at at a time: several where it takes long, though little work."""

    @property
    def root(self) -> Path | Address:
        """The directory or the address that relative paths start from."""

    def key_of(self, text: str) -> str | None:
        """Return the key of what a row names; None if that cannot be the name of a file."""

    def refusal(self, key: str) -> str:
        """Return why what is elsewhere is not read, whatever there is; empty for files below the root."""

    def identify(self, key: str) -> Source:
        """Look at a file below the root; the source is absent if it cannot be read, which reading will tell.

        Raises:
            RunError: the server cannot be reached.
        """

    def is_empty(self) -> bool:
        """Tell whether it is known that there is nothing below the root."""

    def is_gone(self) -> bool:
        """See `Files.is_gone`."""

    def announce(self, key: str) -> None:
        """See `Files.announce`."""

    def read(self, key: str, alive: Callable[[], None]) -> bytes:
        """See `Files.read`."""

    def as_files(self, sources: Sequence[Source], folder: Path, alive: Callable[[], None]) -> list[Path]:
        """See `Files.as_files`."""


def is_uri(text: str) -> bool:
    """Tell whether a row, or a key, says where something is as an address does, of whatever kind."""
    return _ADDRESS.match(text) is not None


def elsewhere(root: Path | Address) -> str:
    """Say that something is not read."""
    return f"not below {root}; reader.root says where files may be"


@dataclass(frozen=True)
class NamedFiles:
    """The files below a directory, as `Named`."""

    root: Path

    at_once: ClassVar = 1

    def key_of(self, text: str) -> str | None:
        """See `Named.key_of`."""
        if is_uri(text):
            return key_of(without_secrets(text))
        if max(map(len, os.fsencode(text).split(b"/"))) > _LONGEST_NAME:
            return None
        # As text, as the paths of a job: `..` takes back the segment before it.
        path = "/" + os.path.normpath(text if text.startswith("/") else f"{self.root}/{text}").lstrip("/")
        below = "/" if self.root == Path("/") else f"{self.root}/"
        return None if path in (below, str(self.root)) else key_of(path.removeprefix(below))

    def refusal(self, key: str) -> str:
        """See `Named.refusal`."""
        return elsewhere(self.root) if key.startswith("/") or is_uri(key) else ""

    def identify(self, key: str) -> Source:
        """See `Named.identify`."""
        with suppress(OSError):
            status = path_of(self.root, key).stat()
            if not stat.S_ISDIR(status.st_mode):
                return Source(key, status.st_size, status.st_mtime_ns)
        return Source(key, 0, 0)

    def is_empty(self) -> bool:
        """See `Named.is_empty`."""
        return any(self._folder.empty_places())

    def is_gone(self) -> bool:
        """See `Named.is_gone`."""
        return self._folder.is_gone()

    def announce(self, key: str) -> None:
        """See `Named.announce`."""
        self._folder.announce(key)

    def read(self, key: str, alive: Callable[[], None]) -> bytes:
        """See `Named.read`."""
        return self._folder.read(key, alive)

    def as_files(self, sources: Sequence[Source], folder: Path, alive: Callable[[], None]) -> list[Path]:
        """See `Named.as_files`; they are their own."""
        return self._folder.as_files(sources, folder, alive)

    @property
    def _folder(self) -> Folder:
        return Folder(self.root, (), recursive=False, extensions=EXTENSIONS)
