"""The section `reader` of a job over image files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from resnet_pipe.reader.images.format import EXTENSIONS
from resnet_pipe.reader.section import MAX_PIXELS, AllowEmpty, Positive, ReaderDescription, ReaderSection

if TYPE_CHECKING:
    from resnet_pipe.reader.images.reader import ImageReader


class ImageFilesSection(ReaderSection):
    """What the sections of image files have in common, wherever these are."""

    @property
    def track(self) -> int | None:
        """An image has no tracks."""
        return None

    accept_truncated: Annotated[
        bool, Field(description="process what is there of a truncated file; the rest is grey or black")
    ] = False
    max_pixels: Annotated[
        int,
        Field(
            ge=1,
            description="a larger image fails, by its header, before anything is decoded; the default "
            "is Pillow's own limit against decompression bombs",
        ),
    ] = MAX_PIXELS
    timeout_s: Annotated[Positive, Field(description="seconds; a source that takes longer fails")] = 60
    allow_empty: AllowEmpty = False

    def over_files(self) -> dict[str, object]:
        """See `ReaderSection.over_files`: without the keys that say where else they are."""
        return self.model_dump(mode="json", include={*ImageFilesSection.model_fields} - {"storage"}) | {
            "kind": "images"
        }


class CarryingSection(ImageFilesSection):
    """What sections of image files have in common that come with something, such as a label."""

    carry: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...],
        Field(
            description="other columns, such as label, or in tar files the endings of files beside an image, "
            "such as json: rows get them as texts"
        ),
    ] = ()

    @property
    def carries(self) -> tuple[str, ...]:
        """See `ReaderSection.carries`."""
        return self.carry


class ImagesSection(ImageFilesSection):
    """The `reader` of a job over image files."""

    description: ClassVar = ReaderDescription(
        source="image",
        item="image",
        usual_extension=".jpg",
        worker_bytes=132 << 20,  # 131 MiB with JPEGs of 4000 x 3000 pixels, 52 with 500 x 375
    )
    kind: Annotated[Literal["images"], Field(description="image files")]

    def make_reader(self) -> ImageReader:
        """Make the reader that the job describes. What decodes is not imported yet."""
        from resnet_pipe.reader.images.reader import ImageReader

        return ImageReader(self.files(EXTENSIONS), self.accept_truncated, self.max_pixels)
