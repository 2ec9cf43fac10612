"""Read image files: one source, one item."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, WithJsonSchema

from resnet_pipe.document import looks_at_disk
from resnet_pipe.errors import SourceError
from resnet_pipe.reader.listing import check_entry, list_files, root_of
from resnet_pipe.reader.source import Item, Source, path_of

_NAMES = ("avif", "bmp", "dib", "gif", "jfif", "jpe", "jpeg", "jpg", "mpo", "png", "tif", "tiff", "webp")
EXTENSIONS = frozenset(f".{name}" for name in _NAMES)
"""The files that are taken from a directory. What is in them is told from their first bytes alone."""


@looks_at_disk
def _entry(value: Any, info: ValidationInfo) -> Path:  # noqa: ANN401 - whatever the document holds
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("must be a path")
    base = (info.context or {}).get("base", Path.cwd())
    # As text: `..` takes back the segment before it, as it does for `cd`, even if that is a symbolic link.
    return check_entry(Path(os.path.abspath(base / value)))  # noqa: PTH100


class ImagesSection(BaseModel):
    """The `reader` of a job over image files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Annotated[Literal["images"], Field(description="image files")]
    path: Annotated[
        list[Annotated[Path, BeforeValidator(_entry)]],
        BeforeValidator(lambda value: value if isinstance(value, list | tuple) else [value]),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string", "minLength": 1},
                    {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
                ]
            }
        ),
        Field(
            min_length=1,
            description="a directory, a file, a glob pattern (`**` for any number of directories), or a "
            "list of them; relative to the job file. Names with a leading dot must be spelled out",
        ),
    ]
    recursive: Annotated[bool, Field(description="also read the subdirectories of directories")] = True
    accept_truncated: Annotated[
        bool,
        Field(description="process what there is of a file that ends too early; the rest is grey or black"),
    ] = False
    max_pixels: Annotated[
        int,
        Field(
            ge=1,
            description="a larger image is a failure, found from its header before anything is decoded; "
            "the default is Pillow's own limit against decompression bombs",
        ),
    ] = 178_956_970
    timeout_s: Annotated[
        float,
        Field(gt=0, allow_inf_nan=False, description="a source that takes longer is a failure, seconds"),
    ] = 60
    allow_empty: Annotated[bool, Field(description="having no sources at all is not an error")] = False


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

    def list_sources(self) -> Iterator[Source]:
        """Yield every image file once, sorted by key, without opening any.

        Raises:
            RunError: a directory cannot be listed.
        """
        return list_files(self.entries, self.recursive, EXTENSIONS)

    def read(self, key: str, min_side: int | None) -> Iterator[Item]:
        """Decode one source.

        Args:
            key: of the source.
            min_side: if given, the frame may be a smaller version of the image, as long as its shorter side
                keeps at least this many pixels (or all it has).

        Yields:
            Exactly one item, upright (its EXIF orientation applied), the first frame of an animation.

        Raises:
            SourceError: `missing`, `unreadable`, `not_a_file`, `empty`, `too_large`, or what `decode.decode`
                raises.
        """
        from resnet_pipe.reader.decode import decode  # the decoders are loaded only where images are decoded

        data = _read_bytes(path_of(self.root, key))
        yield Item(decode(data, self.max_pixels, self.accept_truncated, min_side))


def _read_bytes(path: Path) -> bytes:
    """Return the contents of a regular file, without ever waiting for a pipe or a device."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 - a descriptor, not a path
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise SourceError("reader", "not_a_file", "not a regular file")
            data = file.readall()
    except MemoryError:
        raise SourceError("reader", "too_large", "not enough memory to read it") from None
    except FileNotFoundError:
        broken = path.is_symlink()
        raise SourceError("reader", "missing", "a broken link" if broken else "no such file") from None
    except OSError as error:
        special = error.errno in (errno.EISDIR, errno.ENXIO)  # a directory; a socket
        raise SourceError("reader", "not_a_file" if special else "unreadable", str(error.strerror)) from None
    if not data:
        raise SourceError("reader", "empty", "the file has no bytes")
    return data
