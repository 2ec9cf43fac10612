"""The section `reader` of a job over image or video files that manifests name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from resnet_pipe.job.location import looks_at_disk
from resnet_pipe.reader.files import Folder
from resnet_pipe.reader.images.format import EXTENSIONS
from resnet_pipe.reader.images.section import ImageFilesSection
from resnet_pipe.reader.section import ReaderDescription, ReaderSection, entry_of
from resnet_pipe.reader.video.keys import VideoKeys
from resnet_pipe.reader.video.section import VideoSection

if TYPE_CHECKING:
    from resnet_pipe.reader.images.reader import ImageReader
    from resnet_pipe.reader.manifests.clips import ClipReader


@looks_at_disk
def _directory(value: Any, info: ValidationInfo) -> Path:  # noqa: ANN401 - whatever the document holds
    path = entry_of(value, info)
    if not path.is_dir():
        raise ValueError(f"not a directory: {path}")
    return path


_NO_RESULT = ReaderDescription.without_result | {"column", "root", "start", "end"}
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


class ManifestSection(ImageFilesSection):
    """The `reader` of a job over image or video files that manifests name."""

    description: ClassVar[Any] = _Description()

    reads_buckets: ClassVar = False

    kind: Annotated[Literal["manifest"], Field(description="files that a CSV, JSONL or Parquet names")]
    column: Annotated[str, Field(min_length=1, description="the column with their paths")] = "path"
    root: Annotated[
        Annotated[Path, BeforeValidator(_directory)] | None,
        Field(
            description="where relative paths start; no file outside it is read. Default: the directory "
            "of the manifests",
        ),
    ] = None

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

    @model_validator(mode="after")
    def _is_consistent(self) -> ManifestSection:
        if self.video is None and (self.start or self.end):
            raise ValueError("start and end are of videos: add `video: {}`, or what to take of them")
        if self.video is not None and self.accept_truncated:
            raise ValueError("accept_truncated is of images: remove it; of videos, see video.partial")
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
        return (
            f"check that reader.column names files below {root} (reader.root), and that its disk is mounted"
        )

    def make_reader(self) -> ImageReader | ClipReader:
        """Make the reader that the job describes. What decodes is not imported yet."""
        from resnet_pipe.reader.images.reader import ImageReader
        from resnet_pipe.reader.manifests.manifests import Manifests
        from resnet_pipe.reader.manifests.rows import EXTENSIONS as MANIFESTS

        lists = Folder.of(self.on_disk, self.recursive, MANIFESTS)
        named = Folder(self.root or lists.root, (), recursive=False, extensions=EXTENSIONS)
        if self.video is not None:
            from resnet_pipe.reader.manifests.clips import ClipReader, Clips

            return ClipReader(
                Clips(lists, self.column, named, self.start, self.end),
                self.video.sampling,
                self.video.backend,
                self.max_pixels,
                self.video.track,
            )
        return ImageReader(Manifests(lists, self.column, named), self.accept_truncated, self.max_pixels)
