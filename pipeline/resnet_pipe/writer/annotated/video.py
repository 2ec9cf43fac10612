"""Annotated videos: each source encoded again, with its best labels drawn on every frame."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from resnet_pipe.writer.annotated.annotated import AnnotatedSection, AnnotatedWriter
from resnet_pipe.writer.writer import Target


class AnnotatedVideoSection(AnnotatedSection):
    """An H.264 video in MP4 for each source, video/PATH.mp4, with the source's frames and times.

    All frames are included, even if the job takes only some of them: labels stay until the next ones. There
    is no sound.
    """

    suffixes: ClassVar = (".mp4",)
    needs_frames: ClassVar = True

    kind: Literal["video"]
    crf: Annotated[
        int,
        Field(
            ge=1,
            le=51,
            description="constant rate factor of x264: lower means better quality and larger files",
        ),
    ] = 23

    def open(self, target: Target) -> AnnotatedWriter:
        """Begin the videos of a chunk."""
        return AnnotatedWriter(self, target, self.crf)
