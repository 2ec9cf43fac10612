"""The writers of annotated pictures: the sources again, with their best labels or their boxes drawn on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field, ValidationInfo

from resnet_pipe.head.rows import BOXES, LABELS, as_numpy, by_source
from resnet_pipe.job.location import located, looks_at_disk
from resnet_pipe.writer.annotated.annotator import Annotator, DrawingSetup, Request
from resnet_pipe.writer.annotated.seen import Boxes, Labels
from resnet_pipe.writer.writer import Target, Writer, WriterSection, Written

if TYPE_CHECKING:
    import pyarrow as pa


@looks_at_disk
def _font(value: Any, info: ValidationInfo) -> Path | None:  # noqa: ANN401 - whatever the document holds
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise ValueError("expected the path of a TrueType or OpenType font")
    path = located(value, info.context["base"] if info.context else Path()).absolute()
    from resnet_pipe.writer.annotated.panel import load  # Pillow is loaded only where it is needed

    try:
        load(path, 16)
    except OSError as error:
        raise ValueError(f"not a usable font: {path}: {error.strerror or error}") from None
    return path


class AnnotatedSection(WriterSection):
    """What the sections of these writers have in common."""

    fields_key: ClassVar = "draw"
    reads_sources: ClassVar = True
    draw: Annotated[
        Literal["labels", "boxes"],
        Field(description="labels: the k best classes; boxes: all boxes of a detector, with class and score"),
    ] = "labels"
    k: Annotated[int, Field(ge=1, le=20, description="labels drawn")] = 3
    font: Annotated[
        Path | None,
        BeforeValidator(_font, json_schema_input_type=str),
        Field(description="a TrueType or OpenType font, for labels with non-ASCII letters"),
    ] = None
    timeout_s: Annotated[
        float,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="seconds; a source whose next picture takes longer fails",
        ),
    ] = 60

    @property
    def fields(self) -> tuple[Literal["top_k", "boxes"], ...]:
        """What is drawn of each row."""
        return ("top_k",) if self.draw == "labels" else ("boxes",)


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


class AnnotatedImagesSection(AnnotatedSection):
    """A JPEG for each image, images/PATH.jpg, or for each selected video frame, images/PATH/FRAME.jpg."""

    suffixes: ClassVar = (".jpg",)

    kind: Literal["images"]
    quality: Annotated[int, Field(ge=1, le=100, description="JPEG quality")] = 90

    def open(self, target: Target) -> AnnotatedWriter:
        """Begin the pictures of a chunk."""
        return AnnotatedWriter(self, target, self.quality)


class AnnotatedWriter(Writer):
    """The annotated files of a chunk's sources, while they are being made, in the quality of `DrawingSetup`.

    What is kept in memory of a source, until all its rows are there, are its labels or boxes: 32 bytes a
    frame for three labels, 24 for each box.
    """

    def __init__(self, section: AnnotatedSection, target: Target, quality: int) -> None:
        has_boxes = section.draw == "boxes"
        self._kind = Boxes if has_boxes else Labels
        column = target.schema.field(BOXES[0] if has_boxes else "top_k")
        labels = tuple(json.loads(column.metadata[LABELS]))
        kind: Any = section.kind
        setup = DrawingSetup(
            kind, target.files, target.directory, labels, section.font, quality, target.track
        )
        self._annotator = Annotator(setup, section.timeout_s)
        self._parts: list[Request] = []
        """Rows of the last source, in order, as they have come."""

    def append(self, batch: pa.RecordBatch) -> None:
        """Add rows after those already there; the files of the sources before the last one are begun."""
        for key, rows in by_source(batch):
            if self._parts and key != self._parts[0].key:
                self._submit()
            frames = rows.column("frame_index")
            numbers = None if frames.null_count else as_numpy(frames).copy()
            self._parts.append(Request(key, numbers, self._kind.of(rows)))

    def close(self) -> Written:
        """Complete the files."""
        self._submit()
        answers = self._annotator.finish()
        return Written(
            files={key: answer.files for key, answer in answers.items()},
            failures={key: answer.failure for key, answer in answers.items() if answer.failure},
        )

    def discard(self) -> None:
        """Give up what is not done."""
        self._annotator.kill()

    def hurry(self) -> None:
        """Give up what is not done, so that `close` need not wait for it."""
        self.discard()

    def _submit(self) -> None:
        """Have the files of the last source made, if there is one."""
        if not self._parts:
            return
        frames = [part.frame_index for part in self._parts if part.frame_index is not None]
        seen: Any = [part.seen for part in self._parts]
        request = Request(
            self._parts[0].key, np.concatenate(frames) if frames else None, self._kind.joined(seen)
        )
        self._annotator.put(request)
        self._parts = []
