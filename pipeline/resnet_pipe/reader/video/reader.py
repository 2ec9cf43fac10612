"""Read video files: one source, one item a frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.file import refusal
from resnet_pipe.reader.files import LargeFiles
from resnet_pipe.reader.opened import Opened
from resnet_pipe.reader.reader import FileReader
from resnet_pipe.reader.source import FrameCounts, Item, Source, Span
from resnet_pipe.reader.video.sampling import Sampling

if TYPE_CHECKING:
    from resnet_pipe.reader.orientation import Frame
    from resnet_pipe.reader.video.demux import Video
    from resnet_pipe.reader.video.reading import Reading

_NAMES = (
    "3g2 3gp asf avi f4v flv ivf m2t m2ts m4v mj2 mkv mov mp4 mpeg mpg mts mxf nut ogg ogm ogv qt ts vob "
    "webm wmv"
)
EXTENSIONS = frozenset(f".{name}" for name in _NAMES.split())
"""Of the files that are sources."""
_CLIP_S, _CLIP_FPS, _CLIP_KEY_FRAMES = 10, 30, 3
"""What to expect of a video that nothing is known of yet."""


@dataclass(frozen=True)
class VideoReader(FileReader):
    """Lists video files and decodes one track of each: if none is given, the one that ffmpeg selects.

    Only files above `long_bytes` are considered for splitting, into spans of at least `span_s` seconds.
    """

    files: LargeFiles
    sampling: Sampling
    backend: Literal["pyav", "opencv"]
    max_pixels: int
    track: int | None = None
    span_s: float = 60
    long_bytes: int = 32 << 20

    @property
    def expected_items(self) -> int:
        """How many items a source may give: a guess, made without looking at any."""
        sampling = self.sampling
        seconds = float((sampling.end or (sampling.start or 0) + _CLIP_S) - (sampling.start or 0))
        if sampling.fps is not None:
            items = seconds * float(sampling.fps)
        elif sampling.count is not None:
            items = sampling.count
        elif sampling.keyframes:
            items = _CLIP_KEY_FRAMES
        else:
            items = seconds * _CLIP_FPS / (sampling.every or 1)
        return max(1, round(min(items, sampling.max_frames or items)))

    def load(self) -> None:
        """See `Reader.load`."""
        # Later it would be charged to a source.
        from resnet_pipe.reader.video import picture, pyav  # noqa: F401

        if self.backend == "opencv":
            from resnet_pipe.reader.video import cv2_capture  # noqa: F401

    def may_split(self, source: Source) -> bool:
        """Tell, from its size alone, whether a source may be worth splitting into spans."""
        return self.backend == "pyav" and source.size > self.long_bytes

    def spans(self, source: Source, alive: Callable[[], None] = lambda: None) -> tuple[Span, ...]:
        """Divide a long video into parts that can be decoded at the same time; only packets are read.

        All spans together give exactly the items of the whole. There are none if the video is short, or
        unusual in some way, which reading will deal with or report.
        """
        if not self.may_split(source):
            return ()
        from resnet_pipe.reader.video.demux import Video
        from resnet_pipe.reader.video.reading import divide

        try:
            with (
                self.files.at_hand(source.key, alive, again=True) as opened,
                Video(opened, self.max_pixels, alive, self.track) as video,
            ):
                return divide(video, self.sampling, self.span_s)
        except SourceError:
            return ()

    def count_items(self, key: str, alive: Callable[[], None]) -> int:
        """See `Reader.count_items`: the packets of the whole file are read."""
        from resnet_pipe.reader.video.demux import Video
        from resnet_pipe.reader.video.reading import whole

        try:
            with (
                self.files.at_hand(key, alive) as opened,
                Video(opened, self.max_pixels, alive, self.track) as video,
            ):
                return len(whole(video, self.sampling).wanted)
        except OSError as error:
            raise refusal(error) from None

    def read(
        self,
        key: str,
        min_side: int | None,
        span: Span | None = None,
        counts: FrameCounts | None = None,
        alive: Callable[[], None] = lambda: None,
    ) -> Iterator[Item]:
        """Decode the wanted frames of one source, or of one span of it, in presentation order.

        They are upright (rotation applied). `frame_index` counts all frames of the video, wanted or not;
        `pts_s` is the presentation time that the container gives.

        Raises:
            SourceError: `missing`, `unreadable`, `not_a_file`, `empty`, `unknown_format`, `no_video`,
                `encrypted`, `unsupported`, `too_large`, `no_times`, `no_frames`, `truncated` or `damaged`; of
                the last two, the frames before the damage have been given. The message says how many frames
                were decoded.
        """
        counts = FrameCounts() if counts is None else counts
        with self.files.at_hand(key, alive, again=span is not None) as opened:
            yield from self._read(opened, min_side, span, counts, alive)

    def _read(
        self,
        opened: Opened,
        min_side: int | None,
        span: Span | None,
        counts: FrameCounts,
        alive: Callable[[], None],
    ) -> Iterator[Item]:
        import av  # the decoders are loaded only where they are needed

        from resnet_pipe.reader.video.demux import Video
        from resnet_pipe.reader.video.reading import of_span, whole

        video = None
        try:
            with Video(opened, self.max_pixels, alive, self.track) as video:
                if video.note is not None:
                    counts.notes.append(video.note)
                reading = whole(video, self.sampling) if span is None else of_span(video, span)
                counts.notes += video.notes
                yield from self._items(video, reading, min_side, counts)
        except SourceError as error:
            decoded = 0 if video is None else video.decoded
            text = f"{error.message}; frames decoded: {decoded}"
            raise SourceError(error.stage, error.error, text, error.transient) from error
        except OSError as error:
            if isinstance(error, av.FFmpegError):
                raise
            raise refusal(error) from None
        finally:
            passed = range(opened.size)
            if span is not None and video is not None:  # others read the other spans
                passed = range(
                    video.extent.start if span.index else 0,
                    video.extent.stop if span.index < span.count - 1 else opened.size,
                )
            opened.let_go(passed.start, len(passed))

    def sweep(self) -> None:
        """See `Reader.sweep`."""
        self.files.sweep()

    def _items(
        self, video: Video, reading: Reading, min_side: int | None, counts: FrameCounts
    ) -> Iterator[Item]:
        index = reading.index
        video.decoded = counted = 0
        covered = 0.0
        try:
            for position, frame, whole in self._frames(video, reading, min_side):
                seconds = index.seconds(reading.within.start, position + 1)
                counts.add(FrameCounts(video.decoded - counted, 1, seconds - covered))
                counted, covered = video.decoded, seconds
                pts_s = int(index.pts[position]) * index.time_base.numerator / index.time_base.denominator
                yield Item(frame, reading.first_frame + position, pts_s, whole=whole)
            counts.seconds += index.seconds(reading.within.start, reading.within.stop) - covered
        finally:
            counts.decoded += video.decoded - counted
        if index.problem is not None:
            raise index.problem

    def _frames(
        self, video: Video, reading: Reading, min_side: int | None
    ) -> Iterator[tuple[int, Frame, tuple[int, int] | None]]:
        """Yield position, frame and, if that was made smaller, its width and height before."""
        if self.backend == "opencv":
            from resnet_pipe.reader.video import cv2_capture

            for position, frame in cv2_capture.decode(video, reading.index, reading.wanted):
                yield position, frame, None
            return
        from resnet_pipe.reader.video import pyav
        from resnet_pipe.reader.video.picture import Converter

        converter = Converter(min_side, self.max_pixels)
        for position, decoded in pyav.decode(video, reading.index, reading.wanted):
            yield position, converter.rgb(decoded), converter.whole
