"""The rows of an output directory as a pyarrow dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from resnet_pipe.errors import RunError, UsageError
from resnet_pipe.ledger import generation
from resnet_pipe.ledger.ledger import DirectoryLedger
from resnet_pipe.writer.registry import SECTIONS
from resnet_pipe.writer.tables.table import types_in_text

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset

_GIVE = "give the writer.path of a job that has run, with a writer of kind parquet, jsonl or csv"
_TOLD_FROM_VALUES = ("csv", "json")
"""Formats whose types pyarrow tells from values: the first of one shard do not tell those of all."""


class Shards(NamedTuple):
    """The committed shards of a directory: what pyarrow calls their format, and their paths, by chunk."""

    format: str
    paths: list[Path]


def open_rows(output: Path) -> Dataset:
    """Open the committed shards of a directory; no row is read before the dataset is used.

    A chunk that is written again replaces its shard: a dataset is of the moment at which it is opened.

    Raises:
        UsageError: there is no such directory, or none in it in a format that pyarrow reads.
        RunError: a record of the ledger cannot be read, or a file that it names is missing.
    """
    shards = committed(output)
    return _dataset([str(path) for path in shards.paths], shards.format)


def committed(output: Path) -> Shards:
    """Return the shards that the records of a directory name; of several table writers, those of one.

    Raises:
        UsageError: there is no such directory, or none in it in a format that pyarrow reads.
        RunError: a record of the ledger cannot be read, or a file that it names is missing.
    """
    if not output.is_dir():
        raise UsageError(f"{output} {'is not a directory' if output.exists() else 'does not exist'}", _GIVE)
    ledger = DirectoryLedger(output.absolute())
    generation.refuse_half_switched(ledger)
    chunks = []
    for record in ledger.records() if ledger.store.home.is_dir() else ():
        if not ledger.is_intact(record):
            raise RunError(f"{output} lacks files of its ledger", f"resnet-pipe check {output} names them")
        chunks.append((record.chunk, record.rows, record.shards))  # not its sources, of which there are many
    for section in SECTIONS.values():
        if section.dataset_format is not None:
            shards = [
                file.name
                for chunk, rows, files in chunks
                # What a text without rows holds cannot be told; Parquet says it itself.
                if rows or section.dataset_format not in _TOLD_FROM_VALUES
                for file in files
                if file.name == f"part-{chunk}{section.shard_suffix}"
            ]
            if shards:
                return Shards(section.dataset_format, [ledger.store.path(name) for name in shards])
    raise UsageError(f"{output} holds no committed shards in a format that pyarrow reads", _GIVE)


def _dataset(shards: Sequence[str], name: str) -> Dataset:
    import pyarrow as pa
    import pyarrow.dataset

    schema = None  # every shard says it itself
    if name in _TOLD_FROM_VALUES:
        schemas = [pa.dataset.dataset([shard], format=name).schema for shard in shards]
        told, known = pa.unify_schemas(schemas, promote_options="permissive"), types_in_text()
        schema = pa.schema([(field.name, known.get(field.name, field.type)) for field in told])
    return pa.dataset.dataset(shards, schema=schema, format=name)
