"""Indexes of archives in the user's cache, for the workers and for the next run."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

from resnet_pipe.errors import HomeError
from resnet_pipe.machine.home import cache_dir
from resnet_pipe.reader.archives.index import Index
from resnet_pipe.reader.opened import Opened
from resnet_pipe.store import atomic

_KEPT_S = 60 * 86_400
"""Those that no run has used for so long are removed."""
_TOUCHED_S = 86_400
_HASH_BYTES = 32


def load(archive: Opened) -> Index | None:
    """Return the saved index of an archive; None if there is none, it is of another one, or not whole."""
    try:
        file = _file(archive.place)
        data = file.read_bytes()
        state = file.stat()
        body = memoryview(data)[_HASH_BYTES:]
        if state.st_uid != os.geteuid() or hashlib.sha256(body).digest() != data[:_HASH_BYTES]:
            return None
        name, _, index = bytes(body).partition(b"\n")
        if name.decode() != archive.stamp:
            return None
        if time.time() - state.st_mtime > _TOUCHED_S:
            os.utime(file)
        return Index.from_bytes(index)
    except (OSError, HomeError, ValueError, LookupError, TypeError):
        return None


def save(archive: Opened, index: Index) -> None:
    """Save an index in the place of an older one, if the user has a cache that can be written."""
    body = archive.stamp.encode() + b"\n" + index.to_bytes()
    with suppress(OSError, HomeError):  # then it is made again where it is needed
        file = _file(archive.place)
        if not file.parent.is_dir():
            file.parent.mkdir(parents=True, mode=0o700)
        if not file.exists():
            _remove_old(file.parent)
        temporary = atomic.temporary_name(file, str(os.getpid()))
        temporary.write_bytes(hashlib.sha256(body).digest() + body)
        temporary.replace(file)  # it need not survive a power cut: its checksum tells


def _file(place: str) -> Path:
    return cache_dir() / "archives" / f"{hashlib.sha256(os.fsencode(place)).hexdigest()[:32]}.index"


def _remove_old(folder: Path) -> None:
    """Remove the indexes that nobody has used for long, and what a killed process has left half written."""
    now = time.time()
    for file in folder.iterdir():
        if now - file.stat().st_mtime > _KEPT_S:
            file.unlink()
