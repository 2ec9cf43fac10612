"""Addresses in a bucket, such as `s3://bucket/pictures`."""

from __future__ import annotations

import re
from typing import Final

SCHEMES: Final = {"s3": "Amazon S3, and servers that speak S3", "gs": "Google Cloud Storage", "az": "Azure"}
"""What an address begins with, and where it leads."""
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


class Address(str):
    """Where objects are: a scheme, a bucket, and perhaps the beginning of their names; no slash at the end.

    Of Azure, the account is in the environment, as for its own tools: `az://container/pictures`.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Address:
        """Take an address; ValueError says what is wrong with it."""
        if not is_address(text):
            raise ValueError(f"{text}: an address begins with {', '.join(f'{name}://' for name in SCHEMES)}")
        scheme, _, rest = text.partition("://")
        bucket, *names = rest.rstrip("/").split("/")
        if "@" in bucket:
            raise ValueError("credentials do not belong in an address, of which copies are kept")
        if not bucket:
            raise ValueError(f"{text} names no bucket; write {scheme}://BUCKET/NAME")
        if not _BUCKET.fullmatch(bucket):
            raise ValueError(f"{text}: the name of a bucket has letters, digits, `-`, `.` and `_` only")
        if any(name in ("", ".", "..") for name in names):
            raise ValueError(f"{text}: a name in a bucket has no `//`, `.` or `..`")
        if any(ord(sign) < 32 or sign in "?\x7f" for sign in rest):
            raise ValueError(f"{text!r}: an address has no `?` or control characters")
        return super().__new__(cls, "/".join([f"{scheme.lower()}://{bucket}", *names]))

    def __truediv__(self, name: str) -> Address:
        """Return the address of a name below this one."""
        return Address(f"{self}/{name}")

    @property
    def origin(self) -> str:
        """The scheme and the bucket."""
        return "/".join(self.split("/")[:3])

    @property
    def names(self) -> list[str]:
        """What comes after these, without slashes."""
        return self.split("/")[3:]


def is_address(text: str) -> bool:
    """Tell whether a text is the address of a place in a bucket, and not a path."""
    scheme = _ADDRESS.match(text)
    return scheme is not None and scheme[1].lower() in SCHEMES
