"""Files of a web server: looked at, and read. What a server refuses is an OSError."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from resnet_pipe.store.connection import SILENCE, TIMEOUT, retries
from resnet_pipe.store.object_errors import explained
from resnet_pipe.store.objects import StoredObject
from resnet_pipe.store.web_address import WebAddress

if TYPE_CHECKING:
    from obstore.store import HTTPStore

_BLOCK_BYTES = 1 << 20
_OF_THE_FILE = re.compile(r": (?:3..|4(?!08|25|29)..) |redirect|Content-Length|last modified")
"""In what the library says where a server has answered, and neither fails nor asks for patience."""


@dataclass(frozen=True)
class WebFiles:
    """The files of a web server below an address. A name is what comes after it, decoded, without a slash.

    Small and picklable; connects when it is used, once in a process. Every method raises OSError if the
    server cannot be reached for `patience_s`, or refuses, which is EINVAL or EACCES; and UsageError if the
    library is missing. The library follows redirects, wherever they lead.
    """

    address: WebAddress
    patience_s: float

    def look(self, name: str) -> StoredObject | None:
        """Return what is known of a file without reading it; None if there is none.

        Its tag is the ETag, else when it was modified, else the same of all.
        """
        with _explained(self.address, name):
            import obstore
            from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

            try:
                return _found(name, obstore.head(self._store, name))
            except FileNotFoundError as error:
                if "status code: 405" not in str(error):  # which the library takes for 404
                    return None
            except (PermissionDeniedError, UnauthenticatedError):
                pass
            try:  # some servers refuse HEAD, and nothing else
                return _found(name, self._meta(name))
            except FileNotFoundError:
                return None

    def _meta(self, name: str) -> Mapping[str, Any]:
        import obstore
        from obstore.exceptions import NotSupportedError

        meta: Mapping[str, Any]
        try:
            meta = obstore.get(self._store, name, options={"range": (0, 1)}).meta
        except NotSupportedError:  # it sends the whole file, which nobody reads
            meta = obstore.get(self._store, name).meta
        return meta

    def read(self, name: str, at_most: int) -> bytes:
        """Return the content of a file; FileNotFoundError if there is none.

        An OSError with `EFBIG` says that it has more bytes than `at_most`.
        """
        with _explained(self.address, name):
            import obstore

            found = obstore.get(self._store, name)
            said, size, parts = found.meta["size"], 0, []
            if said <= at_most:
                for part in found.stream(min_chunk_size=_BLOCK_BYTES):
                    size += len(part)
                    if size > at_most:  # more than it has said
                        break
                    parts.append(part)
                else:
                    return b"".join(parts)
            raise OSError(errno.EFBIG, f"{max(said, size)} bytes: more than {at_most}", name)

    @property
    def _store(self) -> HTTPStore:
        return _connected(self.address, self.patience_s)


def _found(name: str, found: Mapping[str, Any]) -> StoredObject:
    return StoredObject(name, found["size"], found["e_tag"] or found["last_modified"].isoformat())


@cache
def _connected(address: WebAddress, patience_s: float) -> HTTPStore:
    from obstore.store import HTTPStore

    return HTTPStore(
        address,
        client_options={
            "timeout": TIMEOUT,
            "read_timeout": SILENCE,
            "allow_http": address.startswith("http:"),
        },
        retry_config=retries(patience_s),
    )


@contextmanager
def _explained(address: WebAddress, name: str) -> Iterator[None]:
    """See `explained`; what a server answers of one file is EINVAL."""
    try:
        with explained(address, name):
            yield
    except OSError as error:
        text = str(error.strerror)
        if error.errno != errno.EIO or not _OF_THE_FILE.search(text):
            raise
        if "Content-Length" in text:
            text = "the server does not say how long it is (Content-Length)"
        raise OSError(errno.EINVAL, text) from None
