"""The rows of an output directory as a pyarrow dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from resnet_pipe.errors import RunError, UsageError
from resnet_pipe.ledger import fingerprint, generation
from resnet_pipe.ledger.ledger import DirectoryLedger, Ledger
from resnet_pipe.store.bucket import Bucket
from resnet_pipe.store.store import Output, refused
from resnet_pipe.writer.registry import SECTIONS
from resnet_pipe.writer.tables.table import types_in_text

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.dataset import Dataset, FileFormat
    from pyarrow.fs import FileSystem

_GIVE = "give the writer.path of a job that has run, with a writer of kind parquet, jsonl or csv"
_TOLD_FROM_VALUES = ("csv", "json")
"""Formats whose types pyarrow tells from values: the first of one shard do not tell those of all."""
_LINE_BYTES = 8 << 20
"""Of a line of text, for each column that is carried: in JSON, a byte may become six."""


class Shards(NamedTuple):
    """The committed shards of an output: what pyarrow calls their format, and their names, by chunk.

    The attempts are those that have committed them.
    """

    format: str
    names: list[str]
    attempts: dict[str, str]


def open_rows(output: Output) -> Dataset:
    """Open the committed shards of an output; no row is read before the dataset is used.

    A chunk that is written again replaces its shard: a dataset is of the moment at which it is opened.

    Raises:
        UsageError: there is no such directory, or none in it in a format that pyarrow reads.
        RunError: a record of the ledger cannot be read, or a file that it names is missing.
    """
    if isinstance(output, Path):
        return _dataset(output, *committed(output))
    import pyarrow.fs

    with refused(output):
        shards = _shards(Ledger(output))
        paths = Bucket(output, Path()).places(shards.names, shards.attempts)
    files = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(output.filesystem()))
    return _dataset(output, shards.format, paths, files)


def carried(output: Output) -> list[str]:
    """Return which columns came with the sources of an output, all of them texts."""
    noted = fingerprint.read(Ledger(output).store)
    return [str(name) for name in noted.settings.get("reader.carry", ())] if noted else []


def text_format(name: str, columns: Sequence[str]) -> str | FileFormat:
    """Return what reads shards of a format if these columns are carried, which may hold lines and be long."""
    if name not in _TOLD_FROM_VALUES or not columns:
        return name
    import pyarrow.csv
    import pyarrow.dataset
    import pyarrow.json

    size = _LINE_BYTES * len(columns)
    if name == "json":
        return pyarrow.dataset.JsonFileFormat(read_options=pyarrow.json.ReadOptions(block_size=size))
    lines = pyarrow.csv.ParseOptions(newlines_in_values=True)
    return pyarrow.dataset.CsvFileFormat(lines, read_options=pyarrow.csv.ReadOptions(block_size=size))


def committed(directory: Path) -> tuple[str, list[str]]:
    """Return the format, and the paths, of the shards that the records of a directory name.

    Of several table writers, they are those of one.

    Raises:
        UsageError: there is no such directory, or none in it in a format that pyarrow reads.
        RunError: a record of the ledger cannot be read, or a file that it names is missing.
    """
    if not directory.is_dir():
        problem = "is not a directory" if directory.exists() else "does not exist"
        raise UsageError(f"{directory} {problem}", _GIVE)
    ledger = DirectoryLedger(directory.absolute())
    shards = _shards(ledger)
    return shards.format, [str(ledger.store.path(name)) for name in shards.names]


def _shards(ledger: Ledger) -> Shards:
    generation.refuse_half_switched(ledger)
    output, chunks, attempts = ledger.output, [], {}
    for record in ledger.records():
        if not ledger.is_intact(record) and not record.attempt:
            raise RunError(f"{output} lacks files of its ledger", f"resnet-pipe check {output} names them")
        chunks.append((record.chunk, record.rows, record.shards))  # not its sources, of which there are many
        attempts[record.chunk] = record.attempt
    for section in SECTIONS.values():
        if section.dataset_format is not None:
            names = [
                file.name
                for chunk, rows, files in chunks
                # What a text without rows holds cannot be told; Parquet says it itself.
                if rows or section.dataset_format not in _TOLD_FROM_VALUES
                for file in files
                if file.name == f"part-{chunk}{section.shard_suffix}"
            ]
            if names:
                return Shards(section.dataset_format, names, attempts)
    raise UsageError(f"{output} holds no committed shards in a format that pyarrow reads", _GIVE)


def _dataset(output: Output, name: str, shards: Sequence[str], files: FileSystem | None = None) -> Dataset:
    import pyarrow as pa
    import pyarrow.dataset

    kind: str | FileFormat = name
    schema = None  # every shard says it itself
    if name in _TOLD_FROM_VALUES:
        columns = carried(output)
        kind = text_format(name, columns)
        texts = dict.fromkeys(columns, pa.string())
        opened = (pa.dataset.dataset([shard], format=kind, filesystem=files) for shard in shards)
        told = pa.unify_schemas([_told(one.schema, texts) for one in opened], promote_options="permissive")
        known = {**types_in_text(), **texts}
        schema = _told(told, known)
    return pa.dataset.dataset(shards, schema=schema, format=kind, filesystem=files)


def _told(schema: pa.Schema, known: Mapping[str, pa.DataType]) -> pa.Schema:
    """Return a schema with the types that are known, instead of those that pyarrow tells from values."""
    import pyarrow as pa

    return pa.schema([(field.name, known.get(field.name, field.type)) for field in schema])
