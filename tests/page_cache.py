"""Which files Linux has in memory, asked and changed from outside of a run."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

import pytest


def in_memory(path: Path) -> float:
    """Return which share of a file is in memory, 0 to 1, as its owner may know: mincore(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    size = path.stat().st_size
    with path.open("rb") as file:
        at = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
    pages = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
    assert libc.mincore(ctypes.c_void_p(at), ctypes.c_size_t(size), pages) == 0
    libc.munmap(ctypes.c_void_p(at), ctypes.c_size_t(size))
    return sum(page & 1 for page in pages) / len(pages)


def forget(*paths: Path) -> None:
    """Have files on the disk, and out of memory; skip the test where the system keeps them there."""
    for path in paths:
        with path.open("rb") as file:
            os.fdatasync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if in_memory(path) > 0:
            pytest.skip("the files of tests are in memory anyway, such as in a tmpfs")
