"""The files of one chunk: what all writers of a job make of the network's outputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from resnet_pipe.head.aggregate import Aggregate, Result
from resnet_pipe.head.head import Head
from resnet_pipe.head.rows import Place, view
from resnet_pipe.job.resolve import Resolved
from resnet_pipe.run.workers.messages import Outputs
from resnet_pipe.writer.section import WriterSection
from resnet_pipe.writer.writer import Portion, Target, Writer, Written

_MERGED = "merged"
"""In a staging directory: where shards are written a second time."""


@dataclass(frozen=True)
class _Output:
    """What one writer makes.

    Attributes:
        section: of the writer.
        target: where to.
        writer: that makes it.
        aggregate: of frames, if it gets one row for each source.
    """

    section: WriterSection
    target: Target
    writer: Writer
    aggregate: Aggregate | None


class ChunkFiles:
    """The files of a chunk, while they are being written.

    Args:
        chunk: its id.
        resolved: the job.
        directory: an empty one, laid out as the output directory.
        root: the directory that the keys of the sources start from.
    """

    def __init__(self, chunk: str, resolved: Resolved, directory: Path, root: Path) -> None:
        self._chunk = chunk
        self._resolved = resolved
        self._head: Head = resolved.head
        self._directory = directory
        self._root = root
        writers = resolved.job.writer
        self._outputs = [self._open(section) for section in writers]
        # Of frames, rows with all that any writer wants are made once.
        self._of_frames = resolved.schema([section for section in writers if section.over_frames is None])

    def append(self, places: Sequence[Place], outputs: Outputs) -> None:
        """Write the rows of some items.

        Args:
            places: of the items, sorted.
            outputs: of the network, finite.
        """
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

    def _open(self, section: WriterSection) -> _Output:
        track = self._resolved.job.reader.track
        schema = self._resolved.schema([section])
        target = Target(self._directory, self._chunk, schema, self._root, track)
        aggregate = Aggregate(section.over_frames) if section.over_frames else None
        return _Output(section, target, section.open(target), aggregate)

    def _append_sources(self, output: _Output, results: Iterable[Result]) -> None:
        for places, outputs in results:
            output.writer.append(self._head.rows(outputs, places, output.target.schema))
