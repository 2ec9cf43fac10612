"""Read image files: one source, one item."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.file import open_file, refusal
from resnet_pipe.reader.listing import list_files, root_of
from resnet_pipe.reader.passed_over import PassedOver
from resnet_pipe.reader.reach import Reach
from resnet_pipe.reader.section import AllowEmpty, Entries, Recursive
from resnet_pipe.reader.source import Item, Source, Span, Tally, path_of

_NAMES = "avif bmp dib gif heic heif hif jfif jpe jpeg jpg mpo png tif tiff webp"
EXTENSIONS = frozenset(f".{name}" for name in _NAMES.split())
"""The files that are taken from a directory. What is in them is told from their first bytes alone."""


class ImagesSection(BaseModel):
    """The `reader` of a job over image files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Annotated[Literal["images"], Field(description="image files")]
    path: Entries
    recursive: Recursive = True
    accept_truncated: Annotated[
        bool,
        Field(description="process what is there of a truncated file; the rest is grey or black"),
    ] = False
    max_pixels: Annotated[
        int,
        Field(
            ge=1,
            description="a larger image fails, by its header, before anything is decoded; the default "
            "is Pillow's own limit against decompression bombs",
        ),
    ] = 178_956_970
    timeout_s: Annotated[
        float,
        Field(gt=0, allow_inf_nan=False, description="seconds; a source that takes longer fails"),
    ] = 60
    allow_empty: AllowEmpty = False

    @property
    def drops_partial(self) -> bool:
        """Whether a damaged source gives no rows at all: an image has one or none."""
        return False


@dataclass(frozen=True)
class ImageReader:
    """Lists image files and decodes them. Small and picklable; workers get a copy.

    Attributes:
        root: the directory that keys start from.
        entries: absolute paths and patterns, as in the job.
        recursive: whether directories are read with their subdirectories.
        accept_truncated: whether a file that ends too early is processed as far as it goes.
        max_pixels: larger images are failures.
    """

    root: Path
    entries: tuple[Path, ...]
    recursive: bool
    accept_truncated: bool
    max_pixels: int
    expected_items: ClassVar[int] = 1

    @classmethod
    def from_section(cls, section: ImagesSection) -> ImageReader:
        """Make the reader that a job describes."""
        return cls(
            root=root_of(section.path),
            entries=tuple(section.path),
            recursive=section.recursive,
            accept_truncated=section.accept_truncated,
            max_pixels=section.max_pixels,
        )

    def load(self) -> None:
        """Import what decoding needs.

        Raises:
            ImportError: it cannot be imported.
        """
        from resnet_pipe.reader.images import decode  # noqa: F401 - later it would be charged to a source

    def list_sources(self, passed_over: PassedOver | None = None) -> Iterator[Source]:
        """Yield every image file once, sorted by key, without opening any.

        Args:
            passed_over: counts the files that are not sources because of their extension.

        Raises:
            RunError: a directory cannot be listed.
        """
        return list_files(self.entries, self.recursive, EXTENSIONS, passed_over)

    @property
    def reach(self) -> Reach:
        """Which files it might list."""
        return Reach(self.entries, self.recursive, EXTENSIONS)

    def may_split(self, _source: Source) -> bool:
        """Return False: an image is one item."""
        return False

    def spans(self, _source: Source, _alive: object = None) -> tuple[Span, ...]:
        """Return nothing: an image is read as a whole."""
        return ()

    def read(
        self,
        key: str,
        min_side: int | None,
        span: Span | None = None,
        tally: Tally | None = None,
        alive: object = None,
    ) -> Iterator[Item]:
        """Decode one source.

        Args:
            key: of the source.
            min_side: if given, the frame may be a smaller version of the image, as long as its shorter side
                keeps at least this many pixels (or all it has).
            span: an image has none.
            tally: an image is not counted there.
            alive: an image is one item, with nothing to wait for between two.

        Yields:
            Exactly one item, upright (its EXIF orientation applied), the first frame of an animation.

        Raises:
            SourceError: `missing`, `unreadable`, `not_a_file`, `empty`, `too_large`, or what `decode.decode`
                raises.
        """
        from resnet_pipe.reader.images.decode import (
            decode,  # the decoders are loaded only where images are decoded
        )

        try:
            with open_file(path_of(self.root, key)) as file:
                data = file.read()
        except OSError as error:
            raise refusal(error) from None
        except MemoryError:
            raise SourceError("reader", "too_large", "not enough memory to read it") from None
        yield decode(data, self.max_pixels, self.accept_truncated, min_side)
