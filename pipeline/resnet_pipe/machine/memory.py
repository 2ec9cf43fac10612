"""The memory of this process: reuse of freed buffers, files in it, and its peak."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

_M_TRIM_THRESHOLD = -1  # malloc.h of glibc
_M_TOP_PAD = -2
_M_MMAP_THRESHOLD = -3
_KEPT_BYTES = 256 << 20
_PAD_BYTES = 16 << 20
_LARGEST_BYTES = 32 << 20
"""glibc's own upper limit for the threshold."""


def keep_freed_memory() -> None:
    """Tell glibc's allocator to reuse large blocks; elsewhere, do nothing.

    By default every buffer above 128 KiB is mapped and unmapped for each image, and each of its pages is
    faulted in: measured, a fifth of the time of decoding and resizing a 500 x 375 JPEG.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TOP_PAD, _PAD_BYTES)


def memory_file() -> int:
    """Return the descriptor of a new file, which is gone when the last process that has it open or mapped is.

    On Linux it is in memory: not in /dev/shm, which containers limit to 64 MB. Elsewhere, it is on the disk.
    """
    if hasattr(os, "memfd_create"):
        return os.memfd_create("resnet-pipe")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def peak_rss_kb() -> int:
    """Return the highest resident memory of this process so far, KiB.

    On Linux not by getrusage(2): its figure includes what the parent had when it started this process.
    """
    with suppress(OSError):
        status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
        if peak := re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE):
            return int(peak[1])
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest // 1024 if sys.platform == "darwin" else highest  # bytes on macOS, KiB elsewhere
