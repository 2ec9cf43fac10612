"""Annotated videos: each source encoded again, with its best labels drawn on every frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from resnet_pipe.writer.annotated.pictures_shard import AnnotatedSection, AnnotatedShard
from resnet_pipe.writer.writer import Part, Target


class AnnotatedVideoSection(AnnotatedSection):
    """An H.264 video in MP4 for each source, video/PATH.mp4, with the source's frames and times.

    All frames are included, even if the job takes only some of them: labels stay until the next ones. There
    is no sound.
    """

    kind: Literal["video"]
    crf: Annotated[
        int,
        Field(
            ge=1,
            le=51,
            description="constant rate factor of x264: lower means better quality and larger files",
        ),
    ] = 23


def open_shard(target: Target) -> AnnotatedShard:
    """Begin the videos of a chunk; see `writer.writer.open_shard`."""
    return AnnotatedShard(target, target.section.crf)


def merge(target: Target, parts: Sequence[Part]) -> None:
    """Do nothing: the videos are of one source each."""
