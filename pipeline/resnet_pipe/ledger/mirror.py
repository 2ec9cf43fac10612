"""A bucket's results in a directory of this machine, for who reads all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from resnet_pipe.errors import ResnetPipeError
from resnet_pipe.ledger.ledger import DirectoryLedger
from resnet_pipe.store.bucket import Bucket
from resnet_pipe.store.store import Output, refused


@contextmanager
def on_this_machine(output: Output, below: tuple[str, ...] = ("",)) -> Iterator[Path]:
    """Yield a directory with the results: their own, or a copy of what is in a bucket, until the block ends.

    The copy has what is committed, also where a run has not put all files in place yet. Of the
    files, those are copied whose names begin with one of `below`.

    Errors that are raised in the block name the bucket, and not the copy.

    Raises:
        RunError: the server cannot be reached, or refuses; or this machine has no room.
    """
    if isinstance(output, Path):
        yield output
        return
    with TemporaryDirectory(prefix="resnet-pipe-", ignore_cleanup_errors=True) as folder:
        copy = Path(folder)
        store = Bucket(output, copy)
        with refused(output):
            store.copy(copy, below)
            if "" in below:
                attempts = {record.chunk: record.attempt for record in DirectoryLedger(copy).records()}
                store.copy_staged(copy, attempts)
        try:
            yield copy
        except ResnetPipeError as error:
            error.problem = error.problem.replace(str(copy), str(output))
            raise
