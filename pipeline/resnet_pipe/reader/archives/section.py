"""The section `reader` of a job over image files in tar files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from resnet_pipe.reader.images.format import EXTENSIONS
from resnet_pipe.reader.images.section import CarryingSection
from resnet_pipe.reader.section import ReaderDescription

if TYPE_CHECKING:
    from resnet_pipe.reader.images.reader import ImageReader


class ArchiveSection(CarryingSection):
    """The `reader` of a job over image files in tar files."""

    description: ClassVar = ReaderDescription(
        source="image",
        item="image",
        usual_extension=".jpg",
        worker_bytes=170 << 20,  # 38 MiB more than for a folder: Zstandard with pyarrow
    )

    kind: Annotated[Literal["archive"], Field(description="image files in tar files")]

    def make_reader(self) -> ImageReader:
        """Make the reader that the job describes. What decodes is not imported yet."""
        from resnet_pipe.reader.archives.archives import EXTENSIONS as CONTAINERS
        from resnet_pipe.reader.archives.archives import Archives
        from resnet_pipe.reader.images.reader import ImageReader

        files = Archives(self.files(CONTAINERS), EXTENSIONS, self.carry)
        return ImageReader(files, self.accept_truncated, self.max_pixels)
