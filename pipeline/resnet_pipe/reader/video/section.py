"""The section `reader` of a job over video files."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from resnet_pipe.reader.files import Folder
from resnet_pipe.reader.section import MAX_PIXELS, AllowEmpty, Positive, ReaderDescription, ReaderSection
from resnet_pipe.reader.video.sampling import Sampling

if TYPE_CHECKING:
    from resnet_pipe.reader.video.reader import VideoReader


class VideoSection(ReaderSection):
    """The `reader` of a job over video files."""

    description: ClassVar = ReaderDescription(
        source="video",
        item="frame",
        usual_extension=".mp4",
        worker_bytes=216 << 20,  # 214 MiB with H.264 of 3840 x 2160, 107 with 1920 x 1080
        has_frames=True,
    )

    kind: Annotated[Literal["video"], Field(description="video files")]
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
        Positive | None, Field(description="take this many frames a second, each the nearest to its time")
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
        Positive | None, Field(description="leave out what is later, seconds after the first frame")
    ] = None
    max_frames: Annotated[int | None, Field(ge=1, description="take at most this many frames of a video")] = (
        None
    )
    partial: Annotated[
        Literal["keep", "drop"],
        Field(description="what to do with the frames before the damage in a damaged video"),
    ] = "keep"
    max_pixels: Annotated[
        int, Field(ge=1, description="a video with larger frames fails before any is decoded")
    ] = MAX_PIXELS
    timeout_s: Annotated[
        Positive, Field(description="seconds; a video that gives no frame for longer fails")
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

    def limited(self, items: int) -> dict[str, object]:
        """Return what the section would say differently to take no more than so many frames of a video."""
        return {"max_frames": min(items, self.max_frames or items)}

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

    def make_reader(self) -> VideoReader:
        """Make the reader that the job describes. What decodes is not imported yet."""
        from resnet_pipe.reader.video.reader import EXTENSIONS, VideoReader

        return VideoReader(
            files=Folder.of(self.on_disk, self.recursive, EXTENSIONS),
            sampling=self.sampling,
            backend=self.backend,
            max_pixels=self.max_pixels,
            track=self.track,
        )


def _exact(number: float | None) -> Fraction | None:
    return None if number is None else Fraction(repr(number))
