"""What `reader.path` names in a bucket: a folder, an object, or a glob pattern."""

from __future__ import annotations

from collections.abc import Sequence

from resnet_pipe.reader.listing import Pattern, extension_of
from resnet_pipe.store.address import Address

_WILDCARDS = "*?["


class BucketEntry(str):
    """An address whose last part may be a pattern, which is of a folder if it ends in a slash.

    Without one, it is of an object if its name has an extension, and else of a folder as well.

    Attributes:
        start: the folder that it starts from.
        pattern: to match below that; the name of an object is one that matches itself alone.
        object: the name of the object in the folder; empty if it is a folder or a pattern.
    """

    __slots__ = ("object", "pattern", "start")

    start: Address
    pattern: Pattern
    object: str

    def __new__(cls, text: str) -> BucketEntry:
        """Take an address; ValueError says what is wrong with it."""
        scheme, _, rest = text.partition("://")
        parts = rest.split("/")
        first = next((at for at, part in enumerate(parts) if any(sign in part for sign in _WILDCARDS)), None)
        if first == 0:
            raise ValueError(f"{text}: the name of a bucket has no `*`, `?` or `[`")
        pattern = tuple(parts[first:]) if first is not None else ()
        if pattern and pattern[-1] == "":
            pattern = pattern[:-1]
        if "" in pattern:
            raise ValueError(f"{text}: a name in a bucket has no `//`")
        start = Address(f"{scheme}://{'/'.join(parts[:first])}")
        name = ""
        if not pattern and len(parts) > 1 and extension_of(parts[-1]):
            above, _, name = start.rpartition("/")
            start = Address(above)
        entry = super().__new__(cls, "/".join([start, *(pattern or [name])]))
        entry.start, entry.pattern, entry.object = start, pattern, name
        return entry

    def __getnewargs__(self) -> tuple[str]:
        return (str(self),)


def common_start(entries: Sequence[BucketEntry]) -> Address:
    """Return the deepest folder that all entries (at least one, of one bucket) start from."""
    starts = [entry.start.split("/") for entry in entries]
    shared = 0
    while all(len(one) > shared and one[shared] == starts[0][shared] for one in starts):
        shared += 1
    return Address("/".join(starts[0][:shared]))


def bucket_of(entry: BucketEntry) -> str:
    """Return the scheme and the bucket of an entry."""
    return "/".join(entry.start.split("/")[:3])
