"""Addresses on a web server, such as `https://images.example.org/pictures`."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from resnet_pipe.store.address import Address

_PORTS = {"http": "80", "https": "443"}
_WEB = re.compile(r"(https?)://([^/?#]*)([^?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_SERVER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::([0-9]{1,5}))?")
_URI = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*)://([^/?#\\]*)(.*)", re.DOTALL)
_READABLE = "!$&'()*+,;=:@"
"""What need not be encoded in a name."""


class WebAddress(Address):
    """Where files of a web server are: a scheme, a server, and perhaps folders; no slash at the end.

    As text, its names are percent-encoded. Unlike objects in a bucket, what is below it can only be read: web
    servers list nothing, and take nothing.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> WebAddress:
        """Take an address; ValueError says what is wrong with it, without what it says of credentials."""
        origin, names = taken_apart(text.removesuffix("/") if text.count("/") > 2 else text)
        return str.__new__(cls, "/".join([origin, *(quote(name, safe=_READABLE) for name in names)]))

    @property
    def names(self) -> list[str]:
        """See `Address.names`: decoded."""
        return [unquote(name) for name in super().names]


def is_web(text: str) -> bool:
    """Tell whether a text is an address on a web server."""
    return _WEB.fullmatch(text) is not None


def taken_apart(text: str) -> tuple[str, list[str]]:
    """Return the server of an address, as `https://images.example.org`, and the names after it, decoded.

    ValueError says what is wrong with the address, and repeats nothing of it.
    """
    parts = _WEB.fullmatch(text)
    if parts is None:
        raise ValueError("an address of a web server begins with http:// or https://")
    scheme, authority, path, more = parts[1].lower(), parts[2], parts[3], parts[4]
    if "@" in authority:
        raise ValueError("credentials do not belong in an address, of which copies are kept")
    if more:
        raise ValueError("files whose addresses have a `?` or `#` cannot be asked for (of a name: %3F, %23)")
    server = _SERVER.fullmatch(authority)
    if server is None:
        raise ValueError("it names no server: write https://SERVER/FOLDER/")
    try:
        host = server[1].lower() if server[1].isascii() else server[1].encode("idna").decode()
        names = [unquote(name, errors="strict") for name in path.split("/")[1:]]
    except UnicodeError:
        raise ValueError("it has a server or a name that is not written in UTF-8") from None
    port = f":{server[2]}" if server[2] and server[2] != _PORTS[scheme] else ""
    if any(name in ("", ".", "..") or re.search(r"[/\\\x00-\x1f\x7f]", name) for name in names):
        raise ValueError(r"a name on a web server has no `//`, `.`, `..`, `\` or control characters")
    return f"{scheme}://{host}{port}", names


def without_secrets(uri: str) -> str:
    """Return what may be kept of an address that somebody has written: no credentials, and no query."""
    parts = _URI.fullmatch(uri)
    if parts is None:
        return uri
    scheme, authority, rest = parts[1], parts[2], parts[3]
    before, _, after = rest.rpartition("@")
    # There may be a slash in a password; but `@` may be in the name of a file, too.
    slashed = ":" in authority and before and ("/" in after or not _SERVER.fullmatch(authority))
    if "@" in authority or slashed:
        authority, rest = "***@", f"{authority}{rest}".rpartition("@")[2]
    return f"{scheme}://{authority}{re.sub(r'[?#].*', '?***', rest, flags=re.DOTALL)}"
