"""Copies of objects on the disk of this machine, for who needs a file: shared by processes, gone after use.

Each is a file whose name tells the object, its version and its size. Who uses it holds a shared lock of it,
and who makes it an exclusive one, which the kernel takes back from the dead. So a file that nobody has locked
is of a process that was killed; it is never used, because it may not be complete. Files are made, removed,
and their locks exchanged, only by who holds the lock of the folder, which everybody does for a moment only.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from resnet_pipe.errors import HomeError, SourceError
from resnet_pipe.machine.home import cache_dir
from resnet_pipe.reader import file
from resnet_pipe.reader.buckets.object_file import ObjectFile
from resnet_pipe.reader.listing import extension_of
from resnet_pipe.store.lock import waited_for

_PAUSE_S = 0.1
"""Between two looks at a copy that another process makes."""
_NAME = re.compile(r"[0-9a-f]{32}-([0-9]+)(\.[A-Za-z0-9]{1,8})?")
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,8}")
_FULL = frozenset([errno.ENOSPC, errno.EDQUOT, errno.EFBIG])


@dataclass(frozen=True)
class Copy:
    """A file that is, or is to be, the copy of an object, whose `stamp` it has. The descriptor is locked."""

    path: Path
    stamp: str
    descriptor: int

    def give_back(self) -> None:
        """Stop using it; who is the last to do so removes it."""
        try:
            with suppress(OSError), _locked(self.path.parent):
                # One that has been removed may have a successor of the same name.
                if _take(self.descriptor, fcntl.LOCK_EX) and os.fstat(self.descriptor).st_nlink:
                    self.path.unlink()
        finally:
            os.close(self.descriptor)


def take(opened: ObjectFile, most: int | None, alive: Callable[[], None]) -> Copy | None:
    """Return a copy of an object, which another process may have made; None if there is no room for it.

    All copies of this user on this machine may have `most` bytes together; if that is not given, half of what
    their disk has room for. `alive` is called often: it may take long.

    Raises:
        SourceError: `unreadable`: the object, or the disk of the copies.
    """
    if most is not None and opened.size > most:
        return None
    try:
        path = _folder() / _name_of(opened)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            copy, is_new = _open(path, opened, most)
            if copy is None or _is_ready(copy, is_new, opened, alive):
                return copy
            if is_new:
                return None
    except HomeError as error:
        text = f"there is no place for a copy of it: {error.problem}; set XDG_CACHE_HOME, or copies_gib: 0"
        raise SourceError("reader", "unreadable", text, transient=True) from None
    except OSError as error:
        raise file.refusal(error) from None


def sweep() -> None:
    """Remove the copies that processes have left behind which are dead, as far as that is possible."""
    with suppress(OSError, HomeError):
        folder = _folder()
        if folder.is_dir():
            with _locked(folder):
                _sweep(folder)


def _open(path: Path, opened: ObjectFile, most: int | None) -> tuple[Copy | None, bool]:
    """Return the file of a copy, None if there is no room; and whether it is for this process to make it."""
    with _locked(path.parent):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            is_new = _take(descriptor, fcntl.LOCK_EX)
            if is_new:
                os.ftruncate(descriptor, 0)
                _sweep(path.parent)
                if not _has_room(path, opened.size, most):
                    path.unlink()
                    os.close(descriptor)
                    return None, False
        except BaseException:
            os.close(descriptor)
            raise
    return Copy(path, opened.stamp, descriptor), is_new


def _is_ready(copy: Copy, is_new: bool, opened: ObjectFile, alive: Callable[[], None]) -> bool:
    """Make a copy, or wait for who makes it; if it did not come about, give it back and return False."""
    try:
        is_ready = _make(copy, opened, alive) if is_new else _is_made(copy, opened.size, alive)
    except BaseException:
        copy.give_back()
        raise
    if not is_ready:
        copy.give_back()
    return is_ready


def _make(copy: Copy, opened: ObjectFile, alive: Callable[[], None]) -> bool:
    """Make a copy; tell whether there was room for all of it."""
    try:
        with open(copy.descriptor, "wb", closefd=False) as target:
            opened.copy_to(target, alive)
    except OSError as error:
        if error.errno in _FULL:  # something else has taken the room
            return False
        raise
    with _locked(copy.path.parent):  # in between, nobody has it
        fcntl.flock(copy.descriptor, fcntl.LOCK_SH)
    return True


def _is_made(copy: Copy, size: int, alive: Callable[[], None]) -> bool:
    """Wait for the process that makes a copy; tell whether it has: it may have given up, or used it up."""
    while not _take(copy.descriptor, fcntl.LOCK_SH):
        alive()
        time.sleep(_PAUSE_S)
    state = os.fstat(copy.descriptor)
    return bool(state.st_nlink) and state.st_size == size


def _has_room(path: Path, size: int, most: int | None) -> bool:
    """Tell whether there is room for a copy, beside the others, of which some may not be complete."""
    promised = there = 0
    for other in path.parent.iterdir():
        if other != path and (found := _NAME.fullmatch(other.name)):
            promised += int(found[1])
            there += other.stat().st_size
    free = shutil.disk_usage(path.parent).free
    allowed = (free + there) // 2 if most is None else most
    return promised + size <= allowed and promised - there + size <= free


def _sweep(folder: Path) -> None:
    for path in folder.iterdir():
        if _NAME.fullmatch(path.name):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                if _take(descriptor, fcntl.LOCK_EX):
                    path.unlink()
            finally:
                os.close(descriptor)


def _folder() -> Path:
    return cache_dir() / "videos"


def _name_of(opened: ObjectFile) -> str:
    """Return the name of the file of a copy. Decoders look at the extension."""
    extension = extension_of(opened.place.rpartition("/")[2])
    digest = hashlib.sha256(opened.stamp.encode()).hexdigest()[:32]
    return f"{digest}-{opened.size}{extension if _EXTENSION.fullmatch(extension) else ''}"


def _locked(folder: Path) -> AbstractContextManager[None]:
    return waited_for(folder / "lock")


def _take(descriptor: int, operation: int) -> bool:
    """Take a lock, in the place of one that is ours, if nobody else has it."""
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
