"""The section `reader` of a job over image files that manifests name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationInfo

from resnet_pipe.job.location import looks_at_disk
from resnet_pipe.reader.files import Folder
from resnet_pipe.reader.images.format import EXTENSIONS
from resnet_pipe.reader.images.section import CarryingSection
from resnet_pipe.reader.section import ReaderDescription, entry_of

if TYPE_CHECKING:
    from resnet_pipe.reader.images.reader import ImageReader


@looks_at_disk
def _directory(value: Any, info: ValidationInfo) -> Path:  # noqa: ANN401 - whatever the document holds
    path = entry_of(value, info)
    if not path.is_dir():
        raise ValueError(f"not a directory: {path}")
    return path


class ManifestSection(CarryingSection):
    """The `reader` of a job over image files that manifests name."""

    description: ClassVar = ReaderDescription(
        source="image",
        item="image",
        usual_extension=".jpg",
        worker_bytes=132 << 20,  # as for a folder
        without_result=ReaderDescription.without_result | {"column", "root"},
    )

    kind: Annotated[Literal["manifest"], Field(description="image files that a CSV, JSONL or Parquet names")]
    column: Annotated[str, Field(min_length=1, description="the column with their paths")] = "path"
    root: Annotated[
        Annotated[Path, BeforeValidator(_directory)] | None,
        Field(
            description="where relative paths start; no file outside it is read. Default: the directory "
            "of the manifests",
        ),
    ] = None

    def nothing_there(self) -> str:
        """See `ReaderSection.nothing_there`."""
        root = self.make_reader().root
        return (
            f"check that reader.column names files below {root} (reader.root), and that its disk is mounted"
        )

    def make_reader(self) -> ImageReader:
        """Make the reader that the job describes. What decodes is not imported yet."""
        from resnet_pipe.reader.images.reader import ImageReader
        from resnet_pipe.reader.manifests.manifests import Manifests
        from resnet_pipe.reader.manifests.rows import EXTENSIONS as MANIFESTS

        lists = Folder.of(self.on_disk, self.recursive, MANIFESTS)
        named = Folder(self.root or lists.root, (), recursive=False, extensions=EXTENSIONS)
        return ImageReader(
            Manifests(lists, self.column, named, self.carry), self.accept_truncated, self.max_pixels
        )
