"""The files of one chunk: what all writers of a job make of the network's outputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from resnet_pipe.head.aggregate import Aggregate, Result
from resnet_pipe.head.rows import Place, view
from resnet_pipe.job.resolve import Resolved
from resnet_pipe.run.workers.messages import Outputs
from resnet_pipe.writer.section import WriterSection
from resnet_pipe.writer.writer import Portion, Target, Writer, Written

_MERGED = "merged"
"""In a staging directory: where shards are written a second time."""


@dataclass(frozen=True)
class _Output:
    """What one writer makes; with an aggregate of frames, one row for each source."""

    section: WriterSection
    target: Target
    writer: Writer
    aggregate: Aggregate | None


class ChunkFiles:
    """The files of a chunk, while they are being written.

    The directory is an empty one, laid out as the output directory. The keys of the sources start from
    `root`.
    """

    def __init__(self, chunk: str, resolved: Resolved, directory: Path, root: Path) -> None:
        self._head = resolved.head
        self._directory = directory
        self._outputs = []
        for section in resolved.job.writer:
            target = Target(directory, chunk, resolved.schema([section]), root, resolved.job.reader.track)
            aggregate = Aggregate(section.over_frames) if section.over_frames else None
            self._outputs.append(_Output(section, target, section.open(target), aggregate))
        # Of frames, rows with all that any writer wants are made once.
        of_frames = [output.section for output in self._outputs if output.aggregate is None]
        self._of_frames = resolved.schema(of_frames)

    def append(self, places: Sequence[Place], outputs: Outputs) -> None:
        """Write the rows of some items, sorted; the network's outputs for them are finite."""
        batch = self._head.rows(outputs, places, self._of_frames)
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
            output.writer.append(self._head.rows(outputs, places, output.target.schema))
