"""Open the file of a source, or have it read ahead, without ever waiting for a pipe or a device."""

from __future__ import annotations

import errno
import os
import stat
from concurrent.futures import Future
from contextlib import suppress
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from threading import Semaphore, Thread
from typing import BinaryIO

from resnet_pipe.errors import SourceError

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_AHEAD_BYTES = 8 << 20
"""A photograph, or the beginning of a video."""
_announced: dict[Path, Future[int]] = {}
"""The descriptors of files that are, or will be, opened ahead."""
_room = Semaphore(64)
"""For how many more files may be open: descriptors are few, often 1024."""


def announce(path: Path) -> None:
    """Have a file opened and read ahead by the operating system, without waiting; `open_file` takes it over.

    A thread does that: on a network mount, opening takes long. It is the same descriptor that is read later,
    because mounts by FUSE may forget what they have read when a file is opened again.
    """
    if path not in _announced:
        _announced[path] = Future()
        _queue().put((path, _announced[path]))


@cache
def _queue() -> SimpleQueue[tuple[Path, Future[int]]]:
    queue: SimpleQueue[tuple[Path, Future[int]]] = SimpleQueue()
    Thread(target=_open_ahead, args=(queue,), name="open ahead", daemon=True).start()
    return queue


def _open_ahead(queue: SimpleQueue[tuple[Path, Future[int]]]) -> None:
    while True:
        path, future = queue.get()
        _room.acquire()
        if not future.set_running_or_notify_cancel():
            _room.release()
            continue
        try:
            future.set_result(_open(path))
        except BaseException as error:  # whatever it is, `open_file` will raise it
            future.set_exception(error)


def _open(path: Path) -> int:
    descriptor = os.open(path, _FLAGS)
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):  # a pipe, or a file system that cannot
            os.posix_fadvise(descriptor, 0, _AHEAD_BYTES, os.POSIX_FADV_WILLNEED)
    return descriptor


def _take(path: Path) -> int:
    ahead = _announced.pop(path, None)
    if ahead is None or ahead.cancel():  # before its turn came
        return os.open(path, _FLAGS)
    try:
        return ahead.result()
    finally:
        _room.release()


def open_file(path: Path) -> BinaryIO:
    """Open a regular file that holds at least one byte, unbuffered.

    Raises:
        SourceError: `missing`, `unreadable`, `not_a_file` or `empty`.
    """
    try:
        descriptor = _take(path)
        try:
            _check(descriptor)
            return open(descriptor, "rb", buffering=0)  # noqa: PTH123 - a descriptor; the caller closes it
        except BaseException:
            os.close(descriptor)
            raise
    except FileNotFoundError:
        broken = path.is_symlink()
        raise SourceError("reader", "missing", "a broken link" if broken else "no such file") from None
    except OSError as error:
        special = error.errno in (errno.EISDIR, errno.ENXIO)  # a directory; a socket
        raise SourceError("reader", "not_a_file" if special else "unreadable", str(error.strerror)) from None


def _check(descriptor: int) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise SourceError("reader", "not_a_file", "not a regular file")
    if not os.pread(descriptor, 1, 0):
        raise SourceError("reader", "empty", "the file has no bytes")
