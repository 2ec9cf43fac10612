"""The rows of an output directory as a pyarrow dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from resnet_pipe.errors import UsageError
from resnet_pipe.ledger import generation
from resnet_pipe.ledger.ledger import Ledger
from resnet_pipe.writer.registry import SECTIONS

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset


def open_rows(output: Path) -> Dataset:
    """Open the committed shards of a directory; nothing is read before the dataset is used.

    A chunk that is written again replaces its shard: a dataset is of the moment at which it is opened.

    Raises:
        UsageError: there are none, in a format that pyarrow reads.
        RunError: a record of the ledger cannot be read.
    """
    ledger = Ledger(output)
    generation.refuse_half_switched(ledger)
    shards = [ledger.store.path(file.name) for record in ledger.records() for file in record.shards]
    for section in SECTIONS.values():
        found = [str(path) for path in shards if path.suffix == section.shard_suffix]
        if found and section.dataset_format is not None:
            import pyarrow.dataset

            return pyarrow.dataset.dataset(found, format=section.dataset_format)
    raise UsageError(
        f"{output} holds no committed shards in a format that pyarrow reads",
        "give the writer.path of a job that has run, with a writer of kind parquet, jsonl or csv",
    )
