"""One chunk between its first row and its staging: its files, its failures, its record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from resnet_pipe.head.aggregate import Aggregate, Result
from resnet_pipe.head.rows import Place, is_carried, view, with_carried
from resnet_pipe.job.resolve import Resolved
from resnet_pipe.ledger.ledger import Ledger
from resnet_pipe.ledger.record import Entries, Entry, Failure, File, Record
from resnet_pipe.run.plan import Chunk
from resnet_pipe.run.workers.messages import Outputs, ReadyBatch, Row
from resnet_pipe.store.digest import file_sha256
from resnet_pipe.store.names import key_of
from resnet_pipe.writer.writer import Portion, Target, Writer, WriterSection, Written

if TYPE_CHECKING:
    import pyarrow as pa

_MERGED = "merged"
"""In a staging directory: where shards are written a second time."""


class OpenChunk:
    """A chunk that is being written."""

    def __init__(self, chunk: Chunk, resolved: Resolved, ledger: Ledger) -> None:
        self._chunk = chunk
        self._resolved = resolved
        self._ledger = ledger
        self._staging = ledger.stage(chunk.id)
        self._files = ChunkFiles(chunk.id, resolved, self._staging)
        self._written: list[Written] = []
        self._failures: dict[str, Failure] = {}
        """The first failure of each source that has one."""
        self._ended: set[str] = set()
        """Sources for which the reader has reported the end."""
        self._rows: Counter[str] = Counter()
        self._notes: dict[str, dict[str, None]] = {}
        """The notes of each source that has any, in order; for a video in spans, each note once."""

    def add(self, ready: ReadyBatch, outputs: Outputs) -> list[Failure]:
        """Write the rows of one result; return the failures of sources that had none before."""
        broken = self._write(ready.rows, outputs) if ready.rows else []
        self._ended.update(failure.key for failure in ready.failures)
        for note in ready.notes:
            self._notes.setdefault(note.key, {})[note.text] = None
        return self._remember([*broken, *ready.failures])

    def _remember(self, failures: list[Failure]) -> list[Failure]:
        """Keep the first failure of each source; return those that were kept."""
        new = []
        for failure in failures:
            if failure.key not in self._failures:
                self._failures[failure.key] = failure
                new.append(failure)
        return new

    def _write(self, rows: list[Row], outputs: Outputs) -> list[Failure]:
        finite = np.all([np.isfinite(values).all(axis=1) for values in outputs.values()], axis=0)
        text = f"the network's output is not finite in {self._resolved.precision}"
        # Of a video whose one span is damaged, a single pass would not have seen the spans after it.
        wanted = finite & np.array([row.key not in self._ended for row in rows])
        kept = list(compress(rows, wanted))
        if kept:
            self._rows.update(row.key for row in kept)
            values = outputs if wanted.all() else {name: v[wanted] for name, v in outputs.items()}
            self._files.append(kept, values)
        return [Failure(row.key, "infer", "not_finite", text) for row in compress(rows, ~finite)]

    def close(self) -> list[Failure]:
        """Complete the files; return the failures of sources that had none before."""
        self._written = self._files.close()
        return self._remember(
            [
                Failure(key, error.stage, error.error, error.message)
                for written in self._written
                for key, error in written.failures.items()
            ]
        )

    def hurry(self) -> None:
        """Make `close` return soon, be the files complete or not. The only method for other threads."""
        self._files.hurry()

    def stage(self) -> Record:
        """Return the record of the files, which are complete in the staging directory."""
        dropped = self._dropped() if self._resolved.job.reader.drops_partial else set()
        if self._chunk.replaces or dropped:
            self._files.merge(self._portions(dropped))
        files = {
            key: tuple(self._file(path) for written in self._written for path in written.files.get(key, ()))
            for key in self._rows
            if key not in dropped
        }
        before = self._chunk.failed_before
        entries = [
            Entry(
                source,
                0 if source.key in dropped else self._rows[source.key],
                self._failures.get(source.key),
                files.get(source.key, ()),
                before.get(source, 0) + 1,
                tuple(self._notes.get(source.key, ())),
            )
            for source in (each.identity for each in self._chunk.sources)
        ]
        return Record(
            chunk=self._chunk.id,
            shards=tuple(self._file(Path(path.name)) for path in sorted(self._staging.glob("part-*"))),
            fingerprint=self._resolved.digest,
            committed_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            entries=Entries.of(sorted([*entries, *self._chunk.kept], key=lambda entry: entry.source.key)),
        )

    def discard(self) -> None:
        """Remove what was written."""
        self._files.discard()
        with suppress(OSError):
            self._ledger.unstage(self._chunk.id)

    def _dropped(self) -> set[str]:
        """Return the sources with rows, but not all: whose own files alone are missing is none of them."""
        failed = {failure.key for failure in self._failures.values() if failure.stage != "writer"}
        return failed & set(self._rows)

    def _portions(self, dropped: set[str]) -> list[Portion]:
        """Return what the shards consist of: rows of the old ones that stay, and new ones but `dropped`."""
        portions: list[Portion] = [(self._staging, dropped)]
        if self._chunk.replaces is not None:
            shards = [file.name for file in self._chunk.replaces.shards]
            portions.insert(0, (self._ledger.store.gather(shards), self._chunk.gone))
        return portions

    def _file(self, relative: Path) -> File:
        return File(key_of(str(relative)), file_sha256(self._staging / relative))


@dataclass(frozen=True)
class _Output:
    """What one writer makes; with an aggregate of frames, one row for each source."""

    section: WriterSection
    target: Target
    writer: Writer
    aggregate: Aggregate | None


class ChunkFiles:
    """The files of a chunk while they are written, in an empty directory laid out as the output directory."""

    def __init__(self, chunk: str, resolved: Resolved, directory: Path) -> None:
        self._head = resolved.head
        self._carry = resolved.job.reader.carries
        self._directory = directory
        self._outputs = []
        files = resolved.job.reader.make_reader().files
        for section in resolved.job.writer:
            target = Target(directory, chunk, resolved.schema([section]), files, resolved.job.reader.track)
            aggregate = Aggregate(section.over_frames) if section.over_frames else None
            self._outputs.append(_Output(section, target, section.open(target), aggregate))
        # Of frames, rows with all that any writer wants are made once.
        of_frames = [output.section for output in self._outputs if output.aggregate is None]
        self._of_frames = resolved.schema(of_frames)

    def append(self, places: Sequence[Place], outputs: Outputs) -> None:
        """Write the rows of some items, sorted; the network's outputs for them are finite."""
        batch = self._rows(outputs, places, self._of_frames)
        for output in self._outputs:
            if output.aggregate is None:
                output.writer.append(view(batch, output.target.schema))
            else:
                self._append_sources(output, output.aggregate.add(places, outputs))

    def close(self) -> list[Written]:
        """Complete the files of all writers."""
        for output in self._outputs:
            if output.aggregate is not None:
                self._append_sources(output, output.aggregate.end())
        return [output.writer.close() for output in self._outputs]

    def hurry(self) -> None:
        """Make `close` return soon, be the files complete or not. The only method for other threads."""
        for output in self._outputs:
            output.writer.hurry()

    def discard(self) -> None:
        """Give up what is being written."""
        for output in self._outputs:
            with suppress(Exception):
                output.writer.discard()

    def merge(self, portions: Sequence[Portion]) -> None:
        """Write the shards, which are complete, once more, from the rows in some directories."""
        merged = self._directory / _MERGED
        merged.mkdir()
        for output in self._outputs:
            output.section.merge(replace(output.target, directory=merged), portions)
        for path in merged.iterdir():
            path.replace(self._directory / path.name)
        merged.rmdir()

    def _append_sources(self, output: _Output, results: Iterable[Result]) -> None:
        for places, outputs in results:
            output.writer.append(self._rows(outputs, places, output.target.schema))

    def _rows(self, outputs: Outputs, places: Sequence[Place], schema: pa.Schema) -> pa.RecordBatch:
        """Return the rows that the head makes, with what comes with their sources."""
        if not self._carry:
            return self._head.rows(outputs, places, schema)
        import pyarrow as pa

        of_head = pa.schema([field for field in schema if not is_carried(field)], schema.metadata)
        values = [Row(*place).carried for place in places]
        return with_carried(self._head.rows(outputs, places, of_head), values, schema)
