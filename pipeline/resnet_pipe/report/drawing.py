"""Import matplotlib so that its font cache is in our cache directory or nowhere, and without messages."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from tempfile import TemporaryDirectory

from resnet_pipe.errors import HomeError, MissingExtraError
from resnet_pipe.machine.home import cache_dir
from resnet_pipe.machine.silence import silenced

_CONFIGURATION = "MPLCONFIGDIR"


def load() -> None:
    """Import what charts need from matplotlib.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        if "matplotlib.figure" in sys.modules:
            return
        # Its messages are about directories, and about building its font cache.
        with _configured(), silenced("matplotlib"):
            import matplotlib.figure  # noqa: F401 - and with it the list of fonts
    except ImportError:
        raise MissingExtraError("matplotlib", "report", "A report") from None


@contextmanager
def _configured() -> Iterator[None]:
    """Give matplotlib a writable directory, in our cache if that is possible, unless the user has set one."""
    if os.environ.get(_CONFIGURATION):
        yield
        return
    with TemporaryDirectory(prefix="resnet-pipe-") as directory:
        with suppress(HomeError, OSError):
            kept = cache_dir() / "matplotlib"
            kept.mkdir(parents=True, exist_ok=True)
            directory = str(kept) if os.access(kept, os.W_OK) else directory
        os.environ[_CONFIGURATION] = directory
        try:
            yield
        finally:
            del os.environ[_CONFIGURATION]
