"""Open the file of a source, without ever waiting for a pipe or a device."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from resnet_pipe.errors import SourceError


def open_file(path: Path) -> BinaryIO:
    """Open a regular file that holds at least one byte, unbuffered.

    Raises:
        SourceError: `missing`, `unreadable`, `not_a_file` or `empty`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        file = open(descriptor, "rb", buffering=0)  # noqa: PTH123, SIM115 - a descriptor; the caller closes it
        try:
            _check(descriptor)
        except BaseException:
            file.close()
            raise
    except FileNotFoundError:
        broken = path.is_symlink()
        raise SourceError("reader", "missing", "a broken link" if broken else "no such file") from None
    except OSError as error:
        special = error.errno in (errno.EISDIR, errno.ENXIO)  # a directory; a socket
        raise SourceError("reader", "not_a_file" if special else "unreadable", str(error.strerror)) from None
    return file


def _check(descriptor: int) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise SourceError("reader", "not_a_file", "not a regular file")
    if not os.pread(descriptor, 1, 0):
        raise SourceError("reader", "empty", "the file has no bytes")
