"""Open the file of a source, or have it read ahead, without ever waiting for a pipe or a device."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from threading import Semaphore, Thread
from typing import BinaryIO

from resnet_pipe.errors import SourceError

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_NO_FILES = frozenset([errno.EISDIR, errno.ENXIO, errno.ENODEV, errno.ELOOP])
"""A directory, a socket, a device without a driver, links that lead in a circle."""
_OF_THE_FILE = frozenset(
    [
        errno.EACCES,
        errno.EPERM,
        errno.ENAMETOOLONG,
        errno.ENOTDIR,
        errno.EINVAL,
        errno.EILSEQ,
        errno.EOVERFLOW,
    ]
)
"""What the system says of one file. All else (an error of input and output, a mount that is gone, too many
open files) says something about the disk, the network or this process, and may be over in a moment."""
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
    read_ahead(descriptor, 0, _AHEAD_BYTES)
    return descriptor


def read_ahead(descriptor: int, offset: int, size: int) -> None:
    """Have the operating system read a part of an open file, without waiting, where it can."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):  # a pipe, or a file system that cannot
            os.posix_fadvise(descriptor, offset, size, os.POSIX_FADV_WILLNEED)


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

    It may raise a `SourceError` that is `missing`, `unreadable`, `not_a_file` or `empty`.
    """
    try:
        descriptor = _take(path)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise SourceError("reader", "not_a_file", "not a regular file")
            if not os.pread(descriptor, 1, 0):
                raise SourceError("reader", "empty", "the file is empty")
            return open(descriptor, "rb", buffering=0)  # noqa: PTH123 - a descriptor; the caller closes it
        except BaseException:
            os.close(descriptor)
            raise
    except FileNotFoundError:
        broken = path.is_symlink()
        raise SourceError("reader", "missing", "a broken link" if broken else "no such file") from None
    except OSError as error:
        raise refusal(error) from None


def refusal(error: OSError) -> SourceError:
    """Return what it means for a source that the system does not open or read its file."""
    text = error.strerror or str(error)
    if error.errno in _NO_FILES:
        return SourceError("reader", "not_a_file", text)
    return SourceError("reader", "unreadable", text, transient=error.errno not in _OF_THE_FILE)


def check_readable(path: Path, alive: Callable[[], None]) -> None:
    """Read a file once, to know whether a decoder's trouble with it comes from the disk; call `alive` often.

    If so, this raises a `SourceError`: `unreadable` or `missing`.
    """
    with open_file(path) as file:
        try:
            while file.read(_AHEAD_BYTES):
                alive()
        except OSError as error:
            raise refusal(error) from None
