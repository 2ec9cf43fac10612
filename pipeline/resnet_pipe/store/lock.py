"""One run for each output directory: a lock of the kernel, freed by death."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

from resnet_pipe.errors import LockedError

_ATTEMPTS, _PAUSE_S = 5, 0.05


@contextmanager
def output_lock(home: Path, tag: str) -> Iterator[None]:
    """Hold an output directory, whose `_resnet_pipe` is `home`, while the block runs.

    A run of a whole job excludes all others. The divisions I/N of one job share the directory, each held
    once; those of another N, which would divide the sources differently, are refused. The tag is that of the
    division, such as `1of4`; empty for the whole job. LockedError names the process that holds it, and when
    that started.
    """
    with ExitStack() as stack:
        stack.enter_context(_held(home / "lock", shared=tag != ""))
        if tag:
            stack.enter_context(_held(home / _lock_name(tag), shared=False))
            for path in home.glob("lock-*-of-*"):
                if path.name.rpartition("-of-")[2] != tag.partition("of")[2]:
                    with _held(path, shared=True):
                        pass  # nobody holds it, except for others that look as well
        yield


def report_lock(home: Path) -> AbstractContextManager[None]:
    """Wait for and hold what the divisions of a job write together: failures.jsonl, the fingerprint.

    One that has read earlier must not write later: it would take away what another has written meanwhile.
    OSError if `home` is not there.
    """
    return waited_for(home / "lock-reports")


@contextmanager
def waited_for(path: Path) -> Iterator[None]:
    """Wait for and hold the lock of a file, which is made if it is not there; OSError if it cannot be."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        _give_back(descriptor)


@contextmanager
def own_folder(folder: Path, home: Path) -> Iterator[None]:
    """Have a folder of this machine while the block runs; it is removed then.

    Those beside it are other processes', in the same way: what those that have died have left is removed.
    Nothing but such folders is beside it. OSError if `home`, which it is below, is not there.
    """
    with report_lock(home):  # so that nobody looks at one that is not held yet
        for other in folder.parent.glob("*"):
            if not _is_taken(other / "lock"):
                shutil.rmtree(other, ignore_errors=True)
        folder.mkdir(parents=True)
        held = ExitStack()
        held.enter_context(_held(folder / "lock", shared=False))
    with held:
        try:
            yield
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def are_neighbours(tag: str, other: str) -> bool:
    """Tell whether two tags are of different divisions of the same N, which may run beside each other."""
    return tag != other and tag.partition("of")[2] == other.partition("of")[2] != ""


def neighbours_run(home: Path, tag: str) -> bool:
    """Tell whether divisions of a job run now, other than the one that asks; a whole job has an empty tag."""
    mine = _lock_name(tag)
    return tag != "" and any(_is_taken(path) for path in home.glob("lock-*-of-*") if path.name != mine)


def is_held(home: Path) -> bool:
    """Tell whether a run holds an output directory, whose `_resnet_pipe` is `home`. Nothing is changed."""
    return any(_is_taken(path) for path in (home / "lock", *home.glob("lock-*-of-*")))


def _is_taken(path: Path) -> bool:
    """Tell whether somebody holds a lock exclusively; for this instant, who wants it may have to wait."""
    try:
        if not path.stat().st_size:
            return False  # who holds it exclusively has written so
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _take(descriptor, fcntl.LOCK_SH, attempts=1)
    finally:
        os.close(descriptor)


def _take(descriptor: int, operation: int, attempts: int) -> bool:
    """Take a lock, if it is free; who only looks whether it is holds it for less than all attempts take."""
    for attempt in range(attempts):
        if attempt:
            time.sleep(_PAUSE_S)
        try:
            fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return True
    return False


@contextmanager
def _held(path: Path, shared: bool) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not _take(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, _ATTEMPTS):
            raise LockedError(
                f"another run holds {path.parent.parent}: {_holder(path)}",
                "wait for it to end, or write to another output directory",
            )
        if not shared:
            holder = {"pid": os.getpid(), "started_at": datetime.now(timezone.utc).isoformat("T", "seconds")}
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        try:
            yield
        finally:  # also of a run that is refused next: its process may live on, and holds nothing
            if not shared:
                os.ftruncate(descriptor, 0)
    finally:
        _give_back(descriptor)


def _lock_name(tag: str) -> str:
    return f"lock-{tag.replace('of', '-of-')}"


def _holder(path: Path) -> str:
    """Return who holds a lock: from the file itself, or from those of the divisions that share it."""
    for candidate in (path, *sorted(path.parent.glob("lock-*-of-*"))):
        try:
            holder = json.loads(candidate.read_text())
            with suppress(PermissionError):  # alive, and somebody else's
                os.kill(holder["pid"], 0)
        except (OSError, ValueError, KeyError, TypeError):
            continue
        return f"process {holder['pid']}, started at {holder['started_at']}"
    return "its process is on another machine"


def _give_back(descriptor: int) -> None:
    """Release a lock at once: a process that was forked meanwhile has its file open, too."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)
