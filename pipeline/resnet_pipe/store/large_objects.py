"""Objects that are too large for one request: they go in parts, and appear when the last one is there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obstore.store import ObjectStore

LARGEST = 4 << 30
"""What has more bytes is large: Amazon copies, and takes, up to 5 GiB in one request."""
_PART_BYTES = 32 << 20
"""There may be 10,000 parts."""
_AT_ONCE = 4
"""So many parts are in memory."""


def put_parts(store: ObjectStore, name: str, path: Path) -> None:
    """Put the content of a file, in the place of an object that may be there."""
    import obstore

    obstore.put(store, name, path, use_multipart=True, chunk_size=_PART_BYTES, max_concurrency=_AT_ONCE)


def copy_parts(store: ObjectStore, name: str, to: str, size: int) -> None:
    """Copy an object of so many bytes by way of this machine; FileNotFoundError if there is none.

    Each part is read by a request of its own, which is tried again. After an error nothing is left.
    """
    import obstore

    with obstore.open_writer(store, to, buffer_size=_PART_BYTES, max_concurrency=_AT_ONCE) as writer:
        for start in range(0, size, _PART_BYTES):
            end = min(size, start + _PART_BYTES)
            writer.write(obstore.get_range(store, name, start=start, end=end))
