"""Read video files: one source, one item a frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.file import open_file
from resnet_pipe.reader.listing import list_files, root_of
from resnet_pipe.reader.passed_over import PassedOver
from resnet_pipe.reader.reach import Reach
from resnet_pipe.reader.section import AllowEmpty, Entries, Recursive
from resnet_pipe.reader.source import Item, Source, Span, Tally, path_of
from resnet_pipe.reader.video.sampling import Sampling

if TYPE_CHECKING:
    from resnet_pipe.reader.orientation import Frame
    from resnet_pipe.reader.video.demux import Video
    from resnet_pipe.reader.video.index import Index

_NAMES = (
    "3g2 3gp asf avi f4v flv ivf m2t m2ts m4v mj2 mkv mov mp4 mpeg mpg mts mxf nut ogg ogm ogv qt ts vob "
    "webm wmv"
)
EXTENSIONS = frozenset(f".{name}" for name in _NAMES.split())
"""The files that are taken from a directory. What is in them is told from their content alone."""

_CLIP_S, _CLIP_FPS, _CLIP_KEY_FRAMES = 10, 30, 3
"""What to expect of a video that nothing is known of yet."""


class VideoSection(BaseModel):
    """The `reader` of a job over video files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Annotated[Literal["video"], Field(description="video files")]
    path: Entries
    recursive: Recursive = True
    backend: Annotated[
        Literal["pyav", "opencv"],
        Field(description="the decoder; opencv is for builds of OpenCV with hardware decoding"),
    ] = "pyav"
    track: Annotated[
        int | None,
        Field(
            ge=0,
            description="the video track to read, counted from 0 as in ffmpeg's v:N; by default, the one "
            "that ffmpeg selects: most pixels, where being the default track counts as 5 million",
        ),
    ] = None
    every: Annotated[int | None, Field(ge=1, description="take every N-th frame")] = None
    fps: Annotated[
        float | None,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="take this many frames a second, each the nearest to its time",
        ),
    ] = None
    count: Annotated[int | None, Field(ge=1, description="take this many frames, evenly spread")] = None
    keyframes: Annotated[bool, Field(description="take only key frames, and decode no others")] = False
    start: Annotated[
        float | None,
        Field(
            ge=0, allow_inf_nan=False, description="leave out what is earlier, seconds after the first frame"
        ),
    ] = None
    end: Annotated[
        float | None,
        Field(
            gt=0, allow_inf_nan=False, description="leave out what is later, seconds after the first frame"
        ),
    ] = None
    max_frames: Annotated[int | None, Field(ge=1, description="take at most this many frames of a video")] = (
        None
    )
    partial: Annotated[
        Literal["keep", "drop"],
        Field(description="what to do with the frames before the damage in a damaged video"),
    ] = "keep"
    max_pixels: Annotated[
        int,
        Field(ge=1, description="a video with larger frames fails before any is decoded"),
    ] = 178_956_970
    timeout_s: Annotated[
        float,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="seconds; a video that gives no frame for longer fails",
        ),
    ] = 60
    allow_empty: AllowEmpty = False

    @model_validator(mode="after")
    def _is_consistent(self) -> VideoSection:
        given = [name for name in ("every", "fps", "count", "keyframes") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} cannot be combined: keep one of them")
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ValueError(f"start ({self.start:g}) must be before end ({self.end:g})")
        return self

    @property
    def drops_partial(self) -> bool:
        """Whether a damaged video gives no rows at all."""
        return self.partial == "drop"

    @property
    def sampling(self) -> Sampling:
        """What to take of each video, in exact numbers: as they were written, not as binary fractions."""
        return Sampling(
            every=self.every,
            fps=_exact(self.fps),
            count=self.count,
            keyframes=self.keyframes,
            start=_exact(self.start),
            end=_exact(self.end),
            max_frames=self.max_frames,
        )


def _exact(number: float | None) -> Fraction | None:
    return None if number is None else Fraction(repr(number))


def _ignore() -> None:
    """Do nothing."""


@dataclass(frozen=True)
class VideoReader:
    """Lists video files and decodes them. Small and picklable; workers get a copy.

    Attributes:
        root: the directory that keys start from.
        entries: absolute paths and patterns, as in the job.
        recursive: whether directories are read with their subdirectories.
        sampling: what to take of each video.
        backend: what decodes.
        max_pixels: videos with larger frames are failures.
        track: number of the video track to read; None for the one that ffmpeg selects.
        span_s: the least length of a span, seconds.
        long_bytes: only larger files are considered for splitting.
    """

    root: Path
    entries: tuple[Path, ...]
    recursive: bool
    sampling: Sampling
    backend: Literal["pyav", "opencv"]
    max_pixels: int
    track: int | None = None
    span_s: float = 60
    long_bytes: int = 32 << 20

    @classmethod
    def from_section(cls, section: VideoSection) -> VideoReader:
        """Make the reader that a job describes."""
        return cls(
            root=root_of(section.path),
            entries=tuple(section.path),
            recursive=section.recursive,
            sampling=section.sampling,
            backend=section.backend,
            max_pixels=section.max_pixels,
            track=section.track,
        )

    @property
    def expected_items(self) -> int:
        """How many items a source may give: a guess, made without looking at any."""
        sampling = self.sampling
        seconds = float((sampling.end or (sampling.start or 0) + _CLIP_S) - (sampling.start or 0))
        items = seconds * _CLIP_FPS
        if sampling.every is not None:
            items /= sampling.every
        elif sampling.fps is not None:
            items = seconds * float(sampling.fps)
        elif sampling.count is not None:
            items = sampling.count
        elif sampling.keyframes:
            items = _CLIP_KEY_FRAMES
        return max(1, round(min(items, sampling.max_frames or items)))

    def load(self) -> None:
        """Import what decoding needs.

        Raises:
            ImportError: it cannot be imported.
        """
        # Later it would be charged to a source.
        from resnet_pipe.reader.video import (
            picture,  # noqa: F401
            pyav,  # noqa: F401
        )

        if self.backend == "opencv":
            from resnet_pipe.reader.video import cv2_capture  # noqa: F401

    def list_sources(self, passed_over: PassedOver | None = None) -> Iterator[Source]:
        """Yield every video file once, sorted by key, without opening any.

        Args:
            passed_over: counts the files that are not sources because of their extension.

        Raises:
            RunError: a directory cannot be listed.
        """
        return list_files(self.entries, self.recursive, EXTENSIONS, passed_over)

    @property
    def reach(self) -> Reach:
        """Which files it might list."""
        return Reach(self.entries, self.recursive, EXTENSIONS)

    def may_split(self, source: Source) -> bool:
        """Tell, from its size alone, whether a source may be worth splitting into spans."""
        return self.backend == "pyav" and source.size > self.long_bytes

    def spans(self, source: Source, alive: Callable[[], None] = _ignore) -> tuple[Span, ...]:
        """Divide a long video into parts that can be decoded at the same time.

        Only packets are read. All spans together give exactly the items of the whole.

        Args:
            source: one of `list_sources`.
            alive: called often while the file is read: it is large, but nothing hangs.

        Returns:
            The spans with frames to take, in order; none if the source is to be read as a whole: it is short,
            or there is something unusual about it, which reading will deal with or report.
        """
        if not self.may_split(source):
            return ()
        from resnet_pipe.reader.video import pyav
        from resnet_pipe.reader.video.demux import Video
        from resnet_pipe.reader.video.index import split
        from resnet_pipe.reader.video.scan import scan

        path = path_of(self.root, source.key)
        try:
            open_file(path).close()  # FFmpeg would wait for a pipe
            with Video(path, self.max_pixels, alive, self.track) as video:
                if video.seconds is not None and video.seconds < 2 * self.span_s:
                    return ()
                found = scan(video)
                if found is None or found.packets is None or found.problem is not None:
                    return ()
                if not video.timeline.is_plain or video.timeline.counted:
                    return ()  # a span is found by its times, and read as if there were no joint
                if not pyav.tells_frames(video, found) or not pyav.starts_anywhere(video, found.packets):
                    return ()
        except SourceError:
            return ()
        wanted = self.sampling.select(found.pts, found.key, found.time_base)
        spans = split(found, found.packets, wanted, self.span_s)
        return spans if len(spans) > 1 else ()

    def read(
        self,
        key: str,
        min_side: int | None,
        span: Span | None = None,
        tally: Tally | None = None,
        alive: Callable[[], None] = _ignore,
    ) -> Iterator[Item]:
        """Decode the wanted frames of one source, or of one span of it.

        Args:
            key: of the source.
            min_side: if given, the frames may be smaller than the video's, as long as their shorter side
                keeps at least this many pixels (or all it has).
            span: from `spans`; None for all of the source.
            tally: added to while reading.
            alive: called often between two items: there may be much to read and to decode, but nothing hangs.

        Yields:
            Items in presentation order, upright (rotation applied). `frame_index` counts all frames of the
            video, wanted or not; `pts_s` is the presentation time that the container gives.

        Raises:
            SourceError: `missing`, `unreadable`, `not_a_file`, `empty`, `unknown_format`, `no_video`,
                `encrypted`, `unsupported`, `too_large`, `no_times`, `no_frames`, `truncated` or `damaged`; of
                the last two, the frames before the damage have been given. The message says how many frames
                were decoded.
        """
        from resnet_pipe.reader.video.demux import (
            Video,  # the decoders are loaded only where videos are decoded
        )

        path = path_of(self.root, key)
        open_file(path).close()  # FFmpeg would wait for a pipe
        video, tally = None, Tally() if tally is None else tally
        try:
            with Video(path, self.max_pixels, alive, self.track) as video:
                if video.track.note is not None:
                    tally.notes.append(video.track.note)
                part = self._whole(video) if span is None else _part(video, span)
                tally.notes += video.notes
                yield from self._items(video, part, min_side, tally)
        except SourceError as error:
            decoded = 0 if video is None else video.decoded
            text = f"{error.message}; frames decoded: {decoded}"
            raise SourceError(error.stage, error.error, text, error.transient) from error

    def _whole(self, video: Video) -> _Part:
        from resnet_pipe.reader.video import pyav

        found = pyav.index(video)
        if not len(found.pts):
            raise found.problem or SourceError("reader", "no_frames", "its video stream holds no frames")
        wanted = self.sampling.select(found.pts, found.key, found.time_base)
        if not len(wanted) and found.problem is None:
            problem = (
                f"it has no frames between start and end: it is {found.seconds(0, len(found.pts)):.3f} s long"
            )
            raise SourceError("reader", "no_frames", problem)
        within = self.sampling.range(found.pts, found.time_base)
        if self.sampling.max_frames is not None and len(wanted):
            within = range(within.start, int(wanted[-1]) + 1)
        return _Part(found, 0, within, wanted)

    def _items(self, video: Video, part: _Part, min_side: int | None, tally: Tally) -> Iterator[Item]:
        index = part.index
        video.decoded = counted = 0
        covered = 0.0
        try:
            for position, frame in self._frames(video, part, min_side):
                seconds = index.seconds(part.within.start, position + 1)
                tally.add(Tally(video.decoded - counted, 1, seconds - covered))
                counted, covered = video.decoded, seconds
                pts_s = int(index.pts[position]) * index.time_base.numerator / index.time_base.denominator
                yield Item(frame, part.first_frame + position, pts_s)
            tally.seconds += index.seconds(part.within.start, part.within.stop) - covered
        finally:
            tally.decoded += video.decoded - counted
        if index.problem is not None:
            raise index.problem

    def _frames(self, video: Video, part: _Part, min_side: int | None) -> Iterator[tuple[int, Frame]]:
        if self.backend == "opencv":
            from resnet_pipe.reader.video import cv2_capture

            yield from cv2_capture.decode(video, part.index, part.wanted)
            return
        from resnet_pipe.reader.video import pyav
        from resnet_pipe.reader.video.picture import Converter

        converter = Converter(min_side, self.max_pixels)
        for position, frame in pyav.decode(video, part.index, part.wanted):
            yield position, converter.rgb(frame)


@dataclass(frozen=True)
class _Part:
    """What is to be read of a video.

    Attributes:
        index: of the video, or of a piece that the part is in.
        first_frame: `frame_index` of the first frame of the index.
        within: the frames of the part, positions in the index.
        wanted: int64, the frames to take, positions in the index.
    """

    index: Index
    first_frame: int
    within: range
    wanted: NDArray[np.int64]


def _part(video: Video, span: Span) -> _Part:
    from resnet_pipe.reader.video.scan import scan

    changed = "it has changed since it was divided into spans"
    found = scan(video, span)
    if found is None:
        raise video.fault(changed)
    first = 0 if span.start_pts is None else int(np.searchsorted(found.pts, span.start_pts))
    stop = len(found.pts) if span.end_pts is None else int(np.searchsorted(found.pts, span.end_pts))
    if stop - first != span.frames or span.start_pts not in (None, found.pts[first]):
        raise found.problem or video.fault(changed)
    wanted = np.arange(first, stop)
    if span.wanted is not None:
        taken = np.unpackbits(np.frombuffer(span.wanted, np.uint8), count=span.frames)
        wanted = wanted[taken.astype(np.bool_)]
    return _Part(found, span.first_frame - first, range(first, stop), wanted)
