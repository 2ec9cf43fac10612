"""The section `reader` of a job over image files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from resnet_pipe.job.storage import StorageSection
from resnet_pipe.reader.buckets.in_bucket import InBucket
from resnet_pipe.reader.files import Files, Folder
from resnet_pipe.reader.images.format import EXTENSIONS
from resnet_pipe.reader.section import MAX_PIXELS, AllowEmpty, Positive, ReaderDescription, ReaderSection
from resnet_pipe.store.objects import Storage

if TYPE_CHECKING:
    from resnet_pipe.reader.images.reader import ImageReader


_FETCHING_BYTES = 160 << 20
"""158 MiB with objects of 5 MB, 40 with 300 kB: threads that fetch ahead, and what they have fetched."""


class ImageFilesSection(ReaderSection):
    """What the sections of image files have in common, wherever these are."""

    track: ClassVar[int | None] = None
    """An image has no tracks."""

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
        return self.model_dump(mode="json", include={*ImageFilesSection.model_fields}) | {"kind": "images"}


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
        without_result=ReaderDescription.without_result | {"storage"},
    )
    reads_buckets: ClassVar = True

    kind: Annotated[Literal["images"], Field(description="image files")]
    storage: Annotated[
        StorageSection | None, Field(description="how to reach the server, where path is in a bucket")
    ] = None

    @field_validator("storage")
    @classmethod
    def _of_a_bucket(cls, storage: StorageSection | None, info: ValidationInfo) -> StorageSection | None:
        if storage is not None and any(isinstance(entry, Path) for entry in info.data.get("path", ())):
            raise ValueError("it is for buckets, but reader.path is on a disk: remove it")
        return storage

    @property
    def worker_bytes(self) -> int:
        """See `ReaderSection.worker_bytes`."""
        return super().worker_bytes + (_FETCHING_BYTES if self.in_bucket else 0)

    def nothing_there(self) -> str:
        """See `ReaderSection.nothing_there`."""
        if not self.in_bucket:
            return super().nothing_there()
        return "check reader.path, and that the objects are there, with a name that begins like that"

    def make_reader(self) -> ImageReader:
        """Make the reader that the job describes. What decodes is not imported yet."""
        from resnet_pipe.reader.images.reader import ImageReader

        return ImageReader(self._files(), self.accept_truncated, self.max_pixels)

    def _files(self) -> Files:
        if not self.in_bucket:
            return Folder.of(self.on_disk, self.recursive, EXTENSIONS)
        storage = self.storage.storage if self.storage else Storage()
        return InBucket.of(self.in_bucket, self.recursive, EXTENSIONS, storage)
