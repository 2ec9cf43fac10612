"""Read videos as a job does, for tests."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.source import FrameCounts, Source, Span
from resnet_pipe.reader.video.reader import VideoReader
from resnet_pipe.reader.video.section import VideoSection
from tests.videos import number_of


class Row(NamedTuple):
    """An item that was read, and the number that is drawn into it."""

    frame_index: int
    pts_s: float
    number: int
    frame: NDArray[np.uint8]


@dataclass
class Reading:
    """What reading a source has come to."""

    rows: list[Row] = field(default_factory=list)
    counts: FrameCounts = field(default_factory=FrameCounts)
    failure: SourceError | None = None

    @property
    def indices(self) -> list[int]:
        return [row.frame_index for row in self.rows]

    @property
    def numbers(self) -> list[int]:
        return [row.number for row in self.rows]

    @property
    def times(self) -> list[float]:
        return [row.pts_s for row in self.rows]

    @property
    def error(self) -> str | None:
        """The class of the failure."""
        return None if self.failure is None else self.failure.error


def section(path: Path, **keys: Any) -> VideoSection:  # noqa: ANN401 - as in a job
    return VideoSection.model_validate({"kind": "video", "path": str(path), **keys})


def reader_of(path: Path, **keys: Any) -> VideoReader:  # noqa: ANN401 - as in a job
    return section(path, **keys).make_reader()


def splitting(path: Path, span_s: float = 0.4, **keys: Any) -> tuple[VideoReader, Source]:  # noqa: ANN401
    """Return a reader that splits even small files, and its only source."""
    reader = replace(reader_of(path, **keys), span_s=span_s, long_bytes=0)
    (source,) = reader.list_sources()
    return reader, source


def read(path: Path, min_side: int | None = None, **keys: Any) -> Reading:  # noqa: ANN401 - as in a job
    """Read one file."""
    reader = reader_of(path, **keys)
    (source,) = reader.list_sources()
    return read_span(reader, source.key, None, min_side)


def read_span(reader: VideoReader, key: str, span: Span | None, min_side: int | None = None) -> Reading:
    """Read one span of a source, or all of it."""
    reading = Reading()
    try:
        for item in reader.read(key, min_side, span, reading.counts):
            assert item.frame.dtype == np.uint8
            assert item.frame.shape[2:] == (3,)
            assert item.frame.flags.c_contiguous
            assert item.frame_index is not None
            assert item.pts_s is not None
            reading.rows.append(Row(item.frame_index, item.pts_s, number_of(item.frame), item.frame))
    except SourceError as error:
        reading.failure = error
    if reading.failure is not None:
        assert reading.failure.stage == "reader"
        assert "\n" not in reading.failure.message
    return reading
