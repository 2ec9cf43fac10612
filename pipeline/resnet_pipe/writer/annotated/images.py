"""Annotated pictures: the images and frames that the network saw, with their best labels drawn on."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from resnet_pipe.writer.annotated.annotated import AnnotatedSection, AnnotatedWriter
from resnet_pipe.writer.writer import Target


class AnnotatedImagesSection(AnnotatedSection):
    """A JPEG for each image, images/PATH.jpg, or for each selected video frame, images/PATH/FRAME.jpg."""

    suffixes: ClassVar = (".jpg",)

    kind: Literal["images"]
    quality: Annotated[int, Field(ge=1, le=100, description="JPEG quality")] = 90

    def open(self, target: Target) -> AnnotatedWriter:
        """Begin the pictures of a chunk."""
        return AnnotatedWriter(self, target, self.quality)
