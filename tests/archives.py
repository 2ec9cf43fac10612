"""Tar files for tests, made by tarfile, tar, gzip and zstd."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

Member = tuple[str, bytes]


def compressed(data: bytes, name: str) -> bytes:
    """Return the bytes of a file: compressed as its name says."""
    if name.endswith((".gz", ".tgz")):
        return gzip.compress(data, 1)
    return pa.compress(data, "zstd", asbytes=True) if name.endswith(".zst") else data


def tar_of(members: Iterable[Member], format: int = tarfile.PAX_FORMAT) -> bytes:
    """Return a tar file with regular files, in this order."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=format, errors="surrogateescape") as tar:
        for name, data in members:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return made.getvalue()


def pack(folder: Path, archive: Path) -> None:
    """Make a tar file of all that is in a folder, sorted; compressed as its name says."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    members = [(str(path.relative_to(folder)), path.read_bytes()) for path in files]
    archive.write_bytes(compressed(tar_of(members), archive.name))
