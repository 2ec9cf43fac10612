"""The section `reader` of a job over image or video files that manifests name."""

from __future__ import annotations

from dataclasses import replace
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
from resnet_pipe.reader.buckets.copied import large_files
from resnet_pipe.reader.buckets.in_bucket import InBucket
from resnet_pipe.reader.files import Folder
from resnet_pipe.reader.images.section import CarryingSection
from resnet_pipe.reader.section import ReaderDescription, ReaderSection, entry_of
from resnet_pipe.reader.video.keys import CopiesGib, VideoKeys
from resnet_pipe.reader.video.section import VideoSection
from resnet_pipe.store.address import Address, is_address
from resnet_pipe.store.connection import Storage
from resnet_pipe.store.web_address import WebAddress, is_web

if TYPE_CHECKING:
    from resnet_pipe.reader.images.reader import ImageReader
    from resnet_pipe.reader.manifests.clips import ClipReader


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


_NO_RESULT = ReaderDescription.without_result | {"column", "root", "version", "start", "end", "copies_gib"}
_IMAGES = ReaderDescription(
    source="image",
    item="image",
    usual_extension=".jpg",
    worker_bytes=132 << 20,  # as for a folder
    without_result=_NO_RESULT,
)
_VIDEOS = replace(VideoSection.description, without_result=_NO_RESULT)


class _Description:
    """The description of a section: of images, unless its manifests name videos."""

    def __get__(self, section: ManifestSection | None, _owner: type) -> ReaderDescription:
        return _IMAGES if section is None or section.video is None else _VIDEOS


class ManifestSection(CarryingSection):
    """The `reader` of a job over image or video files that manifests name."""

    description: ClassVar[Any] = _Description()

    kind: Annotated[Literal["manifest"], Field(description="files that a CSV, JSONL or Parquet names")]
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

    video: Annotated[
        VideoKeys | None,
        Field(description="the files are videos, of which this is taken. Default: they are images"),
    ] = None
    start: Annotated[
        Annotated[str, Field(min_length=1)] | None,
        Field(description="of videos: the column with the seconds after the first frame to begin at"),
    ] = None
    end: Annotated[
        Annotated[str, Field(min_length=1)] | None,
        Field(description="of videos: the column with the seconds after the first frame to end at"),
    ] = None
    copies_gib: CopiesGib = None

    @model_validator(mode="after")
    def _is_consistent(self) -> ManifestSection:
        if self.video is None and (self.start or self.end):
            raise ValueError("start and end are of videos: add `video: {}`, or what to take of them")
        if self.video is not None and self.accept_truncated:
            raise ValueError("accept_truncated is of images: remove it; of videos, see video.partial")
        if self.video is not None and isinstance(self.root, WebAddress):
            raise ValueError("videos are read from a disk or a bucket, but reader.root is on a web server")
        if self.copies_gib is not None and (self.video is None or not self.fetches):
            raise ValueError("copies_gib is for videos in a bucket: remove it")
        return self

    @property
    def track(self) -> int | None:
        """The track to read of a video."""
        return None if self.video is None else self.video.track

    @property
    def drops_partial(self) -> bool:
        """See `ReaderSection.drops_partial`."""
        return self.video is not None and self.video.partial == "drop"

    def limited(self, items: int) -> dict[str, object]:
        """See `ReaderSection.limited`: of the section that `over_files` returns."""
        return {} if self.video is None else self.video.first(items)

    def over_files(self) -> dict[str, object]:
        """See `ReaderSection.over_files`. Of videos, these are whole ones."""
        if self.video is None:
            return super().over_files()
        shared = self.model_dump(mode="json", include={*ReaderSection.model_fields} - {"storage"})
        limits = {"max_pixels": self.max_pixels, "timeout_s": self.timeout_s}
        return {**shared, **limits, **self.video.model_dump(mode="json"), "kind": "video"}

    def nothing_there(self) -> str:
        """See `ReaderSection.nothing_there`."""
        root = self.make_reader().root
        what = "that they may be read" if isinstance(root, Address) else "that its disk is mounted"
        return f"check that reader.column names files below {root} (reader.root), and {what}"

    def make_reader(self) -> ImageReader | ClipReader:
        """Make the reader that the job describes. What decodes is not imported yet."""
        from resnet_pipe.reader.images.reader import ImageReader
        from resnet_pipe.reader.manifests.manifests import Manifests
        from resnet_pipe.reader.manifests.named import Named, NamedFiles
        from resnet_pipe.reader.manifests.named_objects import NamedObjects
        from resnet_pipe.reader.manifests.rows import EXTENSIONS as MANIFESTS

        lists = self.files(MANIFESTS)
        root = self.root or lists.root
        storage = self.storage.storage if self.storage else Storage()
        named: Named = NamedObjects(root, storage) if isinstance(root, Address) else NamedFiles(root)
        if self.video is None:
            files = Manifests(lists, self.column, named, self.version, self.carry)
            return ImageReader(files, self.accept_truncated, self.max_pixels)
        from resnet_pipe.reader.manifests.clips import ClipReader, Clips

        if isinstance(root, Address):
            videos = large_files(InBucket(root, (), False, frozenset(), storage), self.copies_gib)
        else:
            videos = Folder(root, (), False, frozenset())
        rest = (self.version, self.carry)
        clips = Clips(lists, self.column, named, *rest, videos=videos, start=self.start, end=self.end)
        return ClipReader(clips, self.video.sampling, self.video.backend, self.max_pixels, self.video.track)
