"""What manifests may name in a bucket, or on a web server."""

from __future__ import annotations

import errno
import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from resnet_pipe.errors import RunError
from resnet_pipe.reader import file
from resnet_pipe.reader.buckets import in_bucket
from resnet_pipe.reader.buckets.contents import Contents, name_of
from resnet_pipe.reader.manifests.named import elsewhere, is_uri
from resnet_pipe.reader.source import Source, version_of
from resnet_pipe.store.address import Address
from resnet_pipe.store.connection import Storage
from resnet_pipe.store.names import key_of
from resnet_pipe.store.objects import Objects
from resnet_pipe.store.web_address import WebAddress, is_web, taken_apart, without_secrets
from resnet_pipe.store.web_files import WebFiles


@dataclass(frozen=True)
class NamedObjects:
    """The objects below an address, as `Named`. Those of a web server cannot be listed."""

    root: Address
    storage: Storage

    at_once: ClassVar = 32

    def key_of(self, text: str) -> str | None:
        """See `Named.key_of`. Names in addresses are decoded if they are of a web server."""
        if is_uri(text):
            return key_of(self._below_root(text.strip()) or without_secrets(text))
        if text.startswith("/"):
            return key_of("/" + posixpath.normpath(text).lstrip("/"))
        here = "/".join(["", *self.root.names])
        path = posixpath.normpath(f"{here}/{text}")
        if path == here or path == "/":
            return None
        is_below = path.startswith(f"{here}/")
        return key_of(path[len(here) + 1 :] if is_below else without_secrets(f"{self.root.origin}{path}"))

    def _below_root(self, uri: str) -> str:
        """Return the path of what an address names below the root; empty if it is elsewhere."""
        root = self.root
        try:
            if isinstance(root, WebAddress):
                origin, names = taken_apart(uri)
            else:
                scheme, _, rest = uri.partition("://")
                bucket, *names = rest.split("/")
                origin = f"{scheme.lower()}://{bucket}"
        except ValueError:  # which `refusal` will tell
            return ""
        count = len(root.names)
        is_below = origin == root.origin and names[:count] == root.names
        return "" if not is_below or {"", ".", ".."} & {*names} else "/".join(names[count:])

    def refusal(self, key: str) -> str:
        """See `Named.refusal`."""
        if key.startswith(f"{self.root}/") or (isinstance(self.root, WebAddress) and is_web(key)):
            try:
                type(self.root)(key)
            except ValueError as error:
                return str(error)
        if key.startswith("/") or is_uri(key):
            return elsewhere(self.root)
        if "\\" in key and isinstance(self.root, WebAddress):
            return r"a name with `\`, which a web server may take for `/`"
        return ""

    def identify(self, key: str) -> Source:
        """See `Named.identify`."""
        try:
            found = self._objects.look(name_of(key))
        except OSError as error:
            if not file.refusal(error).transient:
                return Source(key, 0, 0)
            raise RunError(
                f"{self.root}/{key} cannot be looked at: {error.strerror or error}",
                "check reader.root and the network; of a bucket also reader.storage.endpoint,"
                " AWS_ENDPOINT_URL and the region (AWS_REGION); if it is this file alone, take it from the"
                " manifest",
            ) from None
        return Source(key, found.size, version_of(found.size, found.tag)) if found else Source(key, 0, 0)

    def is_empty(self) -> bool:
        """See `Named.is_empty`."""
        if isinstance(self._objects, WebFiles):
            return False
        try:
            return not any(found.size for found in self._objects.list())
        except OSError:  # reading may be allowed all the same
            return False

    def is_gone(self) -> bool:
        """See `Named.is_gone`; where nothing can be listed, whether nobody answers."""
        try:
            if isinstance(self._objects, WebFiles):
                self._objects.look("")
                return False
            return not any(found.size for found in self._objects.list())
        except OSError as error:
            return error.errno not in (errno.EACCES, errno.EINVAL)

    def announce(self, key: str) -> None:
        """See `Named.announce`."""
        self._contents.announce(key)

    def read(self, key: str, alive: Callable[[], None]) -> bytes:
        """See `Named.read`."""
        return self._contents.read(key, alive)

    def as_files(self, sources: Sequence[Source], folder: Path, alive: Callable[[], None]) -> list[Path]:
        """See `Named.as_files`; they are downloaded."""
        return self._contents.as_files(sources, folder, alive)

    @property
    def _objects(self) -> Objects | WebFiles:
        if isinstance(self.root, WebAddress):
            return WebFiles(self.root, in_bucket.PATIENCE_S)
        return Objects(self.root, self.storage, in_bucket.PATIENCE_S)

    @property
    def _contents(self) -> Contents:
        return Contents(self._objects)
