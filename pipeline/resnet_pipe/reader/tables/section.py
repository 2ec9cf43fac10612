"""The section `reader` of a job over image files in Parquet files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from resnet_pipe.reader.images.format import EXTENSIONS
from resnet_pipe.reader.images.section import CarryingSection
from resnet_pipe.reader.section import ReaderDescription

if TYPE_CHECKING:
    from resnet_pipe.reader.images.reader import ImageReader


class TableSection(CarryingSection):
    """The `reader` of a job over image files in Parquet files."""

    description: ClassVar = ReaderDescription(
        source="image",
        item="image",
        usual_extension=".jpg",
        worker_bytes=240 << 20,  # 243 MB with JPEGs of 34 kB in row groups of 4,000
    )

    kind: Annotated[Literal["table"], Field(description="image files in a column of Parquet files")]
    column: Annotated[
        str, Field(min_length=1, description="the column with their bytes, as they are or as Hugging Face's")
    ] = "image"

    def make_reader(self) -> ImageReader:
        """Make the reader that the job describes. What decodes is not imported yet."""
        from resnet_pipe.reader.images.reader import ImageReader
        from resnet_pipe.reader.tables.tables import EXTENSIONS as TABLES
        from resnet_pipe.reader.tables.tables import Tables

        files = Tables(self.files(TABLES), EXTENSIONS, self.column, self.carry)
        return ImageReader(files, self.accept_truncated, self.max_pixels)
