"""Objects in a bucket: listed, read, and put under conditions. What a server refuses is an OSError."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from resnet_pipe.errors import MissingExtraError
from resnet_pipe.store.address import Address

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

_RETRIES: RetryConfig = {"max_retries": 10, "retry_timeout": timedelta(seconds=120)}
"""Dropped connections and errors of the server are tried again for two minutes; what it refuses is not."""
_TIMEOUT = timedelta(seconds=60)
"""For one request."""
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
"""Where the environment names a server that speaks S3; one without TLS is meant if it says `http`."""


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
class Storage:
    """How to reach a server of buckets, besides what the provider's own environment and files say.

    Attributes:
        endpoint: address of a server that speaks S3 (or another provider's language), such as
            `http://127.0.0.1:8333`; None for the provider's own.
        anonymous: whether requests go unsigned, as for public buckets.
    """

    endpoint: str | None = None
    anonymous: bool = False


@dataclass(frozen=True)
class Objects:
    """The objects below an address. A name is what comes after it, without a slash at its beginning.

    As text it is its address. Small and picklable; connects when it is used, once in a process. Every method
    raises OSError if the server cannot be reached, or refuses, and `MissingExtraError` without the library.
    """

    address: Address
    storage: Storage = field(default_factory=Storage)

    def __str__(self) -> str:
        return self.address

    def __truediv__(self, name: str) -> Objects:
        """Return the objects below a name."""
        return replace(self, address=self.address / name)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield all objects below a name, also in what looks like folders, sorted by name."""
        with _explained(self.address):
            for group in self._store.list(prefix or None):
                for found in group:
                    yield StoredObject(found["path"], found["size"], found["e_tag"] or found["version"] or "")

    def list_in(self, folder: str) -> Iterator[StoredObject]:
        """Yield the objects directly in what looks like a folder, sorted by name."""
        import obstore

        with _explained(self.address, folder):
            found = obstore.list_with_delimiter(self._store, folder or None)["objects"]
        for one in sorted(found, key=lambda one: str(one["path"])):
            yield StoredObject(one["path"], one["size"], one["e_tag"] or one["version"] or "")

    def look(self, name: str) -> StoredObject | None:
        """Return what is known of an object without reading it; None if there is none."""
        import obstore

        try:
            with _explained(self.address, name):
                found = obstore.head(self._store, name)
        except FileNotFoundError:
            return None
        return StoredObject(name, found["size"], found["e_tag"] or found["version"] or "")

    def read(self, name: str) -> bytes:
        """Return the content of an object; FileNotFoundError if there is none."""
        return self.read_tagged(name)[0]

    def read_tagged(self, name: str) -> tuple[bytes, str]:
        """Return the content of an object, and what `replace` takes; FileNotFoundError if there is none."""
        import obstore

        with _explained(self.address, name):
            found = obstore.get(self._store, name)
            return found.bytes().to_bytes(), self._tag(found.meta)

    def tag_of(self, name: str) -> str:
        """Return what `replace` takes, without reading the object; FileNotFoundError if there is none."""
        import obstore

        with _explained(self.address, name):
            return self._tag(obstore.head(self._store, name))

    def download(self, name: str, path: Path) -> None:
        """Write the content of an object to a file; FileNotFoundError if there is no such object."""
        import obstore

        with _explained(self.address, name), path.open("wb") as file:
            for block in obstore.get(self._store, name).stream(min_chunk_size=1 << 20):
                file.write(block)

    def put(self, name: str, data: bytes | Path) -> None:
        """Put an object, the content of a file perhaps, in the place of one that may be there."""
        import obstore

        with _explained(self.address, name):
            obstore.put(self._store, name, data)

    def create(self, name: str, data: bytes) -> str:
        """Put an object where there is none, and return what `replace` takes; ConditionError if there is one.

        After an answer that got lost, this may be raised although it is this object: read it to know.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with _explained(self.address, name):
            try:
                return self._tag(obstore.put(self._store, name, data, mode="create", use_multipart=False))
            except (AlreadyExistsError, PreconditionError) as error:
                raise ConditionError(f"{self.address}/{name}") from error

    def replace(self, name: str, data: bytes, tag: str) -> str:
        """Put an object in the place of one that has been read or put with this tag, and return the new one.

        ConditionError if there is another one, or none; after a lost answer, see `create`.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode = {"version" if self._has_generations else "e_tag": tag}
        with _explained(self.address, name):
            try:
                return self._tag(obstore.put(self._store, name, data, mode=mode, use_multipart=False))
            except (AlreadyExistsError, PreconditionError, FileNotFoundError) as error:
                raise ConditionError(f"{self.address}/{name}") from error

    def copy(self, name: str, to: str) -> None:
        """Copy an object within the bucket; FileNotFoundError if there is none."""
        import obstore

        with _explained(self.address, name):
            obstore.copy(self._store, name, to)

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; what is not there is passed over."""
        import obstore

        wanted = list(names)
        if wanted:
            with _explained(self.address, wanted[0]):
                obstore.delete(self._store, wanted)

    def _tag(self, found: Mapping[str, Any]) -> str:
        """Return what a condition is put on."""
        return str(found["version" if self._has_generations else "e_tag"] or "")

    @property
    def _has_generations(self) -> bool:
        return self.address.startswith("gs:")

    @property
    def _store(self) -> ObjectStore:
        return _connected(self.address, self.storage)


@cache
def _connected(address: Address, storage: Storage) -> ObjectStore:
    try:
        from obstore.store import from_url
    except ModuleNotFoundError as error:
        raise MissingExtraError("obstore", "cloud", f"Reading or writing {address}") from error

    endpoint = storage.endpoint or next(filter(None, map(os.environ.get, _ENDPOINTS)), "")
    options: ClientConfig = {"timeout": _TIMEOUT, "allow_http": endpoint.startswith("http://")}
    settings: dict[str, str | bool] = {}
    if storage.endpoint is not None:
        settings["base_url" if address.startswith("gs:") else "endpoint"] = storage.endpoint
    if storage.anonymous:
        settings["skip_signature"] = True
    return from_url(address, client_options=options, retry_config=_RETRIES, **settings)


@contextmanager
def _explained(address: Address, name: str = "") -> Iterator[None]:
    """Turn what the library raises into an OSError that says it in a line."""
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

    place = f"{address}/{name}" if name else str(address)
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "no such object", place) from None
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise PermissionError(errno.EACCES, _line(error), place) from None
    except ValueError as error:
        raise OSError(errno.EINVAL, _line(error), place) from None
    except BaseError as error:
        raise OSError(errno.EIO, _line(error), place) from None


def _line(error: Exception) -> str:
    """Return the first line of an error, without the requests that have led to it."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return text if len(text) <= 300 else f"{text[:297]}..."
