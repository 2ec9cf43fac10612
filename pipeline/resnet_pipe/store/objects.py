"""Objects in a bucket: listed, read, and put under conditions. What a server refuses is an OSError."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from resnet_pipe.store import large_objects
from resnet_pipe.store.address import Address
from resnet_pipe.store.connection import Storage, connected, endpoint, retries, settings
from resnet_pipe.store.object_errors import explained

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from obstore.store import ObjectStore

PATIENCE_S = 20.0
"""Dropped connections and errors of the server are tried again for so long; what it refuses is not."""


class StoredObject(NamedTuple):
    """An object: its name below the address, its size in bytes, and its entity tag.

    The tag changes when the content does; of the same content it may be the same.
    """

    name: str
    size: int
    tag: str


class ConditionError(Exception):
    """An object was not put: one of this name is there already, or it is not the one that was expected."""


@dataclass(frozen=True)
class Objects:
    """The objects below an address. A name is what comes after it, without a slash at its beginning.

    As text it is its address. Small and picklable; connects when it is used, once in a process. Every method
    raises OSError if the server cannot be reached for `patience_s`, or refuses, and UsageError if the library
    is missing, or credentials cannot be used.
    """

    address: Address
    storage: Storage = field(default_factory=Storage)
    patience_s: float = field(default_factory=lambda: PATIENCE_S)

    def __str__(self) -> str:
        return self.address

    def __truediv__(self, name: str) -> Objects:
        """Return the objects below a name."""
        return replace(self, address=self.address / name)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield all objects below a name, also in what looks like folders; see `is_sorted`."""
        with explained(self.address):
            for group in self._store.list(prefix or None):
                for found in group:
                    yield _stored(found["path"], found)

    def list_in(self, folder: str) -> Iterator[StoredObject]:
        """Yield the objects directly in what looks like a folder, sorted by name."""
        with explained(self.address, folder):
            import obstore

            found = obstore.list_with_delimiter(self._store, folder or None)["objects"]
        for one in sorted(found, key=lambda one: str(one["path"])):
            yield _stored(one["path"], one)

    @property
    def is_sorted(self) -> bool:
        """Whether the server promises to list objects sorted by name.

        Amazon, Google and Azure do. Other servers that speak S3 may not, nor do Amazon's directory buckets.
        """
        bucket = self.address.split("/")[2]
        return not self.address.startswith("s3:") or not (
            bucket.endswith("--x-s3") or endpoint(self.address, self.storage)
        )

    def look(self, name: str) -> StoredObject | None:
        """Return what is known of an object without reading it; None if there is none."""
        try:
            with explained(self.address, name):
                import obstore

                found = obstore.head(self._store, name)
        except FileNotFoundError:
            return None
        return _stored(name, found)

    def read(self, name: str, at_most: int | None = None) -> bytes:
        """Return the content of an object; FileNotFoundError if there is none.

        An OSError with `EFBIG` says that it has more bytes than `at_most`.
        """
        with explained(self.address, name):
            import obstore

            found = obstore.get(self._store, name)
            if at_most is not None and found.meta["size"] > at_most:
                raise OSError(errno.EFBIG, f"{found.meta['size']} bytes: more than {at_most}", name)
            content: bytes = found.bytes().to_bytes()
        return content

    def read_part(self, name: str, offset: int, size: int) -> tuple[StoredObject, bytes]:
        """Return which object it is, and some of its bytes, fewer at its end; see `read`."""
        with explained(self.address, name):
            import obstore

            got = obstore.get(self._store, name, options={"range": (offset, offset + size)})
            return _stored(name, got.meta), got.bytes().to_bytes()

    def read_tagged(self, name: str) -> tuple[bytes, str]:
        """Return the content of an object, and what `replace` takes; FileNotFoundError if there is none."""
        with explained(self.address, name):
            import obstore

            found = obstore.get(self._store, name)
            return found.bytes().to_bytes(), self._tag(found.meta)

    def tag_of(self, name: str) -> str:
        """Return what `replace` takes, without reading the object; FileNotFoundError if there is none."""
        with explained(self.address, name):
            import obstore

            return self._tag(obstore.head(self._store, name))

    def download(self, name: str, path: Path) -> None:
        """Write the content of an object to a file; FileNotFoundError if there is no such object."""
        import obstore

        with explained(self.address, name), path.open("wb") as file:
            for block in obstore.get(self._store, name).stream(min_chunk_size=1 << 20):
                file.write(block)

    def put(self, name: str, data: bytes | Path) -> None:
        """Put an object, the content of a file perhaps, in the place of one that may be there."""
        with explained(self.address, name):
            import obstore

            if isinstance(data, Path) and data.stat().st_size > large_objects.LARGEST:
                large_objects.put_parts(self._store, name, data)
            else:
                obstore.put(self._store, name, data)

    def create(self, name: str, data: bytes) -> str:
        """Put an object where there is none, and return what `replace` takes; ConditionError if there is one.

        After an answer that got lost, this may be raised although it is this object: read it to know.
        """
        with explained(self.address, name):
            import obstore
            from obstore.exceptions import AlreadyExistsError, PreconditionError

            try:
                return self._tag(obstore.put(self._store, name, data, mode="create", use_multipart=False))
            except (AlreadyExistsError, PreconditionError) as error:
                raise ConditionError(f"{self.address}/{name}") from error

    def replace(self, name: str, data: bytes, tag: str) -> str:
        """Put an object in the place of one that has been read or put with this tag, and return the new one.

        ConditionError if there is another one, or none; after a lost answer, see `create`.
        """
        mode = {"version" if self._has_generations else "e_tag": tag}
        with explained(self.address, name):
            import obstore
            from obstore.exceptions import AlreadyExistsError, PreconditionError

            try:
                return self._tag(obstore.put(self._store, name, data, mode=mode, use_multipart=False))
            except (AlreadyExistsError, PreconditionError, FileNotFoundError) as error:
                raise ConditionError(f"{self.address}/{name}") from error

    def copy(self, name: str, to: str, size: int) -> None:
        """Copy an object of so many bytes within the bucket; FileNotFoundError if there is none.

        If it is too large for one request, it passes through this machine, and is there when it is complete.
        """
        with explained(self.address, name):
            import obstore

            if size > large_objects.LARGEST:
                large_objects.copy_parts(self._store, name, to, size)
            else:
                obstore.copy(self._store, name, to)

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; what is not there is passed over."""
        wanted = list(names)
        if wanted:
            with explained(self.address, wanted[0]):
                import obstore

                obstore.delete(self._store, wanted)

    def filesystem(self) -> AbstractFileSystem:
        """Return the server as a file system of fsspec, in which paths begin with the bucket."""
        with explained(self.address):
            from obstore.fsspec import FsspecStore

            found, options = settings(self.address, self.storage)
            scheme, patience = self.address.partition("://")[0], retries(self.patience_s)
            return FsspecStore(scheme, config=found, client_options=options, retry_config=patience)

    def _tag(self, found: Mapping[str, Any]) -> str:
        """Return what a condition is put on."""
        return str(found["version" if self._has_generations else "e_tag"] or "")

    @property
    def _has_generations(self) -> bool:
        return self.address.startswith("gs:")

    @property
    def _store(self) -> ObjectStore:
        return connected(self.address, self.storage, self.patience_s)


def _stored(name: str, found: Mapping[str, Any]) -> StoredObject:
    """Return what is known of an object, the same whether it was listed, looked at or read.

    Azure lists entity tags without quotation marks; and only listings have fractions of seconds.
    """
    tag, modified = found["e_tag"], found["last_modified"].replace(microsecond=0).isoformat()
    tag = f'"{tag}"' if tag and '"' not in tag else tag or found["version"] or modified
    return StoredObject(name, found["size"], tag)
