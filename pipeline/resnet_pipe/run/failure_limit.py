"""When failures of sources end a run: too many of them, or the input is gone."""

from __future__ import annotations

import os
from pathlib import Path

from resnet_pipe.errors import RunError
from resnet_pipe.ledger.record import Failure


def check_failures(failure: Failure, count: int, limit: int, root: Path) -> None:
    """Let a run go on after a source has failed, the `count`th that has, or not.

    Raises:
        RunError: more than the limit have failed, or the input, below `root`, is gone.
    """
    if count > limit:
        raise RunError(
            f"{count} source{'' if count == 1 else 's'} failed, more than run.max_failures allows",
            "see the failures in the log; committed results are kept",
        )
    if failure.error in ("missing", "unreadable") and not _has_entries(root):
        raise RunError(
            f"the input is gone: {root} cannot be read or is empty now",
            "restore it (is the disk mounted?) and run the same command again",
        )


def _has_entries(directory: Path) -> bool:
    try:
        with os.scandir(directory) as entries:
            return any(True for _ in entries)
    except OSError:
        return False
