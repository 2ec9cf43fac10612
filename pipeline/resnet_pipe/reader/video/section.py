"""The section `reader` of a job over video files."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from resnet_pipe.reader.buckets.copied import large_files
from resnet_pipe.reader.section import MAX_PIXELS, AllowEmpty, Positive, ReaderDescription, ReaderSection
from resnet_pipe.reader.video.keys import CopiesGib, VideoKeys, exact
from resnet_pipe.reader.video.sampling import Sampling

if TYPE_CHECKING:
    from resnet_pipe.reader.video.reader import VideoReader


class VideoSection(VideoKeys, ReaderSection):
    """The `reader` of a job over video files."""

    description: ClassVar = ReaderDescription(
        source="video",
        item="frame",
        usual_extension=".mp4",
        worker_bytes=216 << 20,  # 214 MiB with H.264 of 3840 x 2160, 107 with 1920 x 1080
        has_frames=True,
        without_result=ReaderDescription.without_result | {"copies_gib"},
    )

    kind: Annotated[Literal["video"], Field(description="video files")]
    start: Annotated[
        float | None,
        Field(
            ge=0, allow_inf_nan=False, description="leave out what is earlier, seconds after the first frame"
        ),
    ] = None
    end: Annotated[
        Positive | None, Field(description="leave out what is later, seconds after the first frame")
    ] = None
    max_pixels: Annotated[
        int, Field(ge=1, description="a video with larger frames fails before any is decoded")
    ] = MAX_PIXELS
    timeout_s: Annotated[
        Positive, Field(description="seconds; a video that gives no frame for longer fails")
    ] = 60
    allow_empty: AllowEmpty = False
    copies_gib: CopiesGib = None

    @model_validator(mode="after")
    def _is_consistent(self) -> VideoSection:
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ValueError(f"start ({self.start:g}) must be before end ({self.end:g})")
        if self.copies_gib is not None and not self.in_bucket:
            raise ValueError("copies_gib is for buckets, but reader.path is on a disk: remove it")
        return self

    @property
    def drops_partial(self) -> bool:
        """Whether a damaged video gives no rows at all."""
        return self.partial == "drop"

    def limited(self, items: int) -> dict[str, object]:
        """Return what the section would say differently to take no more than so many frames of a video."""
        return self.first(items)

    def over_files(self) -> dict[str, object]:
        """See `ReaderSection.over_files`: without the keys that are for buckets."""
        return self.model_dump(mode="json", exclude={"storage", "copies_gib"})

    @property
    def sampling(self) -> Sampling:
        """See `VideoKeys.sampling`."""
        return replace(super().sampling, start=exact(self.start), end=exact(self.end))

    def make_reader(self) -> VideoReader:
        """Make the reader that the job describes. What decodes is not imported yet."""
        from resnet_pipe.reader.video.reader import EXTENSIONS, VideoReader

        return VideoReader(
            files=large_files(self.files(EXTENSIONS), self.copies_gib),
            sampling=self.sampling,
            backend=self.backend,
            max_pixels=self.max_pixels,
            track=self.track,
        )
