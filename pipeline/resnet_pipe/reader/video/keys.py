"""The keys of a job that say what is taken of a video, and how it is decoded."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from resnet_pipe.reader.section import Positive
from resnet_pipe.reader.video.sampling import Sampling

CopiesGib = Annotated[
    float | None,
    Field(
        ge=0,
        allow_inf_nan=False,
        description="GiB that copies of the videos which are being read may take on this machine's disk, "
        "where these are in a bucket; what does not fit is read where it is. Default: half of what is free",
    ),
]


class VideoKeys(BaseModel):
    """What is taken of a video, and how it is decoded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
    max_frames: Annotated[int | None, Field(ge=1, description="take at most this many frames of a video")] = (
        None
    )
    partial: Annotated[
        Literal["keep", "drop"],
        Field(description="what to do with the frames before the damage in a damaged video"),
    ] = "keep"

    @model_validator(mode="after")
    def _takes_one_kind(self) -> VideoKeys:
        given = [name for name in ("every", "fps", "count", "keyframes") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} cannot be combined: keep one of them")
        return self

    @property
    def sampling(self) -> Sampling:
        """What to take of each video, in exact numbers: as they were written, not as binary fractions."""
        return Sampling(
            every=self.every,
            fps=exact(self.fps),
            count=self.count,
            keyframes=self.keyframes,
            max_frames=self.max_frames,
        )

    def first(self, items: int) -> dict[str, object]:
        """Return what would be said differently to take no more than so many frames of a video."""
        return {"max_frames": min(items, self.max_frames or items)}


def exact(number: float | None) -> Fraction | None:
    """Return a number as it was written."""
    return None if number is None else Fraction(repr(number))
