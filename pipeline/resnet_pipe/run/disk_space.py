"""Whether the disk has room for at least one chunk: a run that could not commit anything is not started."""

from __future__ import annotations

import shutil
from pathlib import Path

from resnet_pipe.errors import RunError
from resnet_pipe.job.resolve import Resolved
from resnet_pipe.run.plan import Plan

_CHUNK_BYTES = 8 << 10
"""Of a chunk besides its numbers: the header of the shard, the ledger's record, the run's log."""


def refuse_full(resolved: Resolved, plan: Plan, expected_items: int, output: Path, freed: int) -> None:
    """Refuse a run whose disk has no room for its first chunk.

    What is counted is the numbers of the rows; pictures and videos with labels come on top.

    Args:
        resolved: the job.
        plan: what there is to do.
        expected_items: that a source gives.
        output: a directory on that disk.
        freed: bytes that the run frees before it writes anything.

    Raises:
        RunError: there is no room.
    """
    chunk = next(iter(plan.chunks()), None)
    if chunk is None:
        return
    needed = _CHUNK_BYTES + len(chunk.sources) * expected_items * _row_bytes(resolved)
    free = shutil.disk_usage(output).free + freed
    if free < needed:
        raise RunError(
            f"No space left on device for a chunk: {output} has {free >> 10} KiB free,"
            f" and about {needed >> 10} KiB are needed",
            "free some space, or use another writer.path; a smaller run.chunk_items needs less at once",
        )


def _row_bytes(resolved: Resolved) -> int:
    writers = resolved.job.writer
    return sum(writer.number_bytes * resolved.head.numbers(writer.fields, writer.k) for writer in writers)
