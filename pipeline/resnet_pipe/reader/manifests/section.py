"""The section `reader` of a job over image files that manifests name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import (
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from resnet_pipe.job.location import looks_at_disk
from resnet_pipe.job.storage import StorageSection
from resnet_pipe.reader.images.section import ImageFilesSection
from resnet_pipe.reader.section import ReaderDescription, entry_of
from resnet_pipe.store.address import Address, is_address
from resnet_pipe.store.objects import Storage
from resnet_pipe.store.web_address import WebAddress, is_web

if TYPE_CHECKING:
    from resnet_pipe.reader.images.reader import ImageReader


@looks_at_disk
def _root(value: Any, info: ValidationInfo) -> Path | Address:  # noqa: ANN401 - whatever the document holds
    if isinstance(value, str) and is_web(value):
        return WebAddress(value)
    if isinstance(value, str) and is_address(value):
        return Address(value)
    path = entry_of(value, info)
    if not path.is_dir():
        raise ValueError(f"not a directory: {path}")
    return path


class ManifestSection(ImageFilesSection):
    """The `reader` of a job over image files that manifests name."""

    description: ClassVar = ReaderDescription(
        source="image",
        item="image",
        usual_extension=".jpg",
        worker_bytes=132 << 20,  # as for a folder
        without_result=ReaderDescription.without_result | {"column", "root", "version"},
    )

    kind: Annotated[Literal["manifest"], Field(description="image files that a CSV, JSONL or Parquet names")]
    column: Annotated[str, Field(min_length=1, description="the column with their paths")] = "path"
    root: Annotated[
        Annotated[
            Path | Address,
            PlainValidator(_root),
            PlainSerializer(str, when_used="json"),
            WithJsonSchema({"type": "string", "minLength": 1}),
        ]
        | None,
        Field(
            description="where relative paths start: a directory, or an address such as "
            "s3://bucket/pictures/ or https://images.example.org/pictures/; no file outside it is read. "
            "Default: where the manifests are",
        ),
    ] = None
    version: Annotated[
        Annotated[str, Field(min_length=1)] | None,
        Field(
            description="the column with what changes when the file does, such as a hash or a date; then "
            "no file is looked at before it is read. Default: size and date, or entity tag, of each file",
        ),
    ] = None

    @field_validator("storage")
    @classmethod
    def _of_a_bucket(cls, storage: StorageSection | None, _info: object) -> StorageSection | None:
        return storage  # `root`, which is not known yet, may be in one

    @model_validator(mode="after")
    def _of_one_of_the_buckets(self) -> ManifestSection:
        in_bucket = isinstance(self.root, Address) and not isinstance(self.root, WebAddress)
        if self.storage is not None and not self.in_bucket and not in_bucket:
            raise ValueError(
                "reader.storage is for buckets, but neither reader.path nor reader.root is in one"
            )
        return self

    @property
    def fetches(self) -> bool:
        """See `ReaderSection.fetches`."""
        return isinstance(self.root, Address) or (self.root is None and super().fetches)

    def nothing_there(self) -> str:
        """See `ReaderSection.nothing_there`."""
        root = self.make_reader().root
        what = "that they may be read" if isinstance(root, Address) else "that its disk is mounted"
        return f"check that reader.column names files below {root} (reader.root), and {what}"

    def make_reader(self) -> ImageReader:
        """Make the reader that the job describes. What decodes is not imported yet."""
        from resnet_pipe.reader.images.reader import ImageReader
        from resnet_pipe.reader.manifests.manifests import Manifests
        from resnet_pipe.reader.manifests.named import Named, NamedFiles
        from resnet_pipe.reader.manifests.named_objects import NamedObjects
        from resnet_pipe.reader.manifests.rows import EXTENSIONS

        lists = self.files(EXTENSIONS)
        root = self.root or lists.root
        storage = self.storage.storage if self.storage else Storage()
        named: Named = NamedObjects(root, storage) if isinstance(root, Address) else NamedFiles(root)
        files = Manifests(lists, self.column, named, self.version)
        return ImageReader(files, self.accept_truncated, self.max_pixels)
