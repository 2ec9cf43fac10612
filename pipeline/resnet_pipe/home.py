"""The home of the user, for `~` and for the cache. A user of the system may have none."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from resnet_pipe.errors import HomeError


def home(user: str = "") -> Path | None:
    """Return a home directory, which need not exist; None if there is no such user, or the user has none.

    Args:
        user: name of another user; else `HOME` counts before what the system says.
    """
    named = os.environ.get("HOME", "")
    if not user and Path(named).is_absolute():
        return Path(named)
    try:
        found = pwd.getpwnam(user) if user else pwd.getpwuid(os.getuid())
    except KeyError:
        return None
    return Path(found.pw_dir) if Path(found.pw_dir).is_absolute() else None


def cache_dir() -> Path:
    """Return the directory for what can be made again: below `XDG_CACHE_HOME`, or else `.cache` of the home.

    It need not exist, and perhaps it cannot be made.

    Raises:
        HomeError: `XDG_CACHE_HOME` names no absolute path, and there is no home.
    """
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if named.is_absolute():
        return named / "resnet-pipe"
    directory = home()
    if directory is None:
        raise HomeError(f"user {os.getuid()} has no home directory, so there is no cache")
    return directory / ".cache" / "resnet-pipe"
