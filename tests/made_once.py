"""What takes long to make is made once, although several processes run the tests."""

from __future__ import annotations

import fcntl
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

Made = TypeVar("Made")


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Made]) -> Made:
    """Return what a function makes in a folder: the first process that asks makes it, the others wait.

    Args:
        factory: of the session.
        name: of the folder.
        make: is given the folder, and returns something that can be pickled.
    """
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # of all processes
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = root / f"{name}.pickle"
        if not kept.exists():
            (root / name).mkdir(exist_ok=True)
            kept.write_bytes(pickle.dumps(make(root / name)))
        made: Made = pickle.loads(kept.read_bytes())  # noqa: S301 - our own
        return made
