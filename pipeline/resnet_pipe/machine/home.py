"""The user's home directory, for `~` and for the cache. System users may have none."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from resnet_pipe.errors import HomeError


def home(user: str = "") -> Path | None:
    """Return a home directory, which may not exist; None if there is no such user, or the user has none.

    Without another user's name, `HOME` takes precedence over the user database.
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
    """Return the cache directory: below `XDG_CACHE_HOME`, or else below `.cache` in the home directory.

    It may not exist, and creating it may fail.

    Raises:
        HomeError: `XDG_CACHE_HOME` is not an absolute path, and there is no home directory.
    """
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if named.is_absolute():
        return named / "resnet-pipe"
    directory = home()
    if directory is None:
        raise HomeError(f"user {os.getuid()} has no home directory, so there is no cache")
    return directory / ".cache" / "resnet-pipe"
