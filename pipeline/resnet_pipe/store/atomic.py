"""Files that appear complete or not at all, and survive a power cut."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_TAG = re.compile(r"\.(\d+of\d+)\.tmp$")
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
"""Errors by which a file system says that it cannot flush directories. Linux: EINVAL; others: the rest."""


def temporary_name(path: Path, tag: str = "") -> Path:
    """Return the hidden name beside `path` under which a run, told apart by its tag, writes it."""
    return path.with_name(f".{path.name}.{tag}{'.' if tag else ''}tmp")


def tag_of(name: str) -> str:
    """Return the tag in a name that `temporary_name` has made; empty if there is none."""
    tag = _TAG.search(name)
    return tag[1] if tag else ""


@contextmanager
def replacing(path: Path, tag: str = "") -> Iterator[Path]:
    """Yield a temporary path to write to; when the block ends without an error, it is durably called `path`.

    On an exception the temporary file is removed and `path` stays as it was. The tag is `temporary_name`'s.
    """
    temporary = temporary_name(path, tag)
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)  # noqa: PTH105 - the os call is the one with the guarantee
        sync(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def write_bytes(path: Path, data: bytes, tag: str = "") -> None:
    """Write `data` to `path`, atomically and durably."""
    with replacing(path, tag) as temporary:
        temporary.write_bytes(data)


def make_folder(folder: Path, root: Path) -> None:
    """Create a folder, and those between it and `root`; `root` itself is not recreated if it has vanished."""
    if folder != root:
        make_folder(folder.parent, root)
        folder.mkdir(exist_ok=True)


def sync_up_to(directory: Path, root: Path) -> None:
    """Flush a directory, and those above it up to and including `root`: they may be new as well."""
    sync(directory)
    while directory != root:
        directory = directory.parent
        sync(directory)


def sync(path: Path) -> None:
    """Flush a file or a directory to the disk.

    A directory whose file system cannot do this (some network mounts) is left to the server.

    Raises:
        OSError: the disk failed to store it. The next flush may succeed: errors are reported once.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno in _NO_SYNC and path.is_dir():
            return
        error.filename = str(path)
        raise
    finally:
        os.close(descriptor)
