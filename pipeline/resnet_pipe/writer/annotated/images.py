"""Annotated pictures: the images and frames that the network saw, with their best labels drawn on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from resnet_pipe.writer.annotated.pictures_shard import AnnotatedSection, AnnotatedShard
from resnet_pipe.writer.writer import Part, Target


class AnnotatedImagesSection(AnnotatedSection):
    """A JPEG for each image, images/PATH.jpg, or for each selected video frame, images/PATH/FRAME.jpg."""

    kind: Literal["images"]
    quality: Annotated[int, Field(ge=1, le=100, description="JPEG quality")] = 90


def open_shard(target: Target) -> AnnotatedShard:
    """Begin the pictures of a chunk; see `writer.writer.open_shard`."""
    return AnnotatedShard(target, target.section.quality)


def merge(target: Target, parts: Sequence[Part]) -> None:
    """Do nothing: the pictures are of one source each."""
