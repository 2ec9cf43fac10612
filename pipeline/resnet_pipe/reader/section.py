"""What the sections of all readers share: their first keys, and how a reader describes itself."""

from __future__ import annotations

import os
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from resnet_pipe.job.location import located, looks_at_disk
from resnet_pipe.job.storage import StorageSection
from resnet_pipe.reader.buckets.entry import BucketEntry, bucket_of
from resnet_pipe.reader.buckets.in_bucket import InBucket
from resnet_pipe.reader.files import Folder
from resnet_pipe.reader.listing import PassedOver, check_entry
from resnet_pipe.store.address import is_address
from resnet_pipe.store.connection import Storage
from resnet_pipe.store.web_address import is_web, without_secrets

if TYPE_CHECKING:
    from resnet_pipe.reader.reader import Reader


@looks_at_disk
def entry_of(value: Any, info: ValidationInfo) -> Path:  # noqa: ANN401 - whatever the document holds
    """Return the absolute path, or pattern, that a document holds; `ValueError` if it names nothing."""
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("must be a path")
    base = (info.context or {}).get("base", Path.cwd())
    # As text: `..` takes back the segment before it, as it does for `cd`, even if that is a symbolic link.
    return check_entry(Path(os.path.abspath(located(str(value), base))))  # noqa: PTH100


def _entry_anywhere(value: Any, info: ValidationInfo) -> Path | BucketEntry:  # noqa: ANN401 - as above
    """Return what `entry_of` does, or an address, where nobody has looked yet."""
    if isinstance(value, str) and is_web(value):
        raise ValueError(
            f"a URL, not a path: {without_secrets(value)}; files of a web server are read if a manifest lists"
            " them: kind: manifest, with reader.root"
        )
    return BucketEntry(value) if isinstance(value, str) and is_address(value) else entry_of(value, info)


Entries = Annotated[
    list[
        Annotated[Path | BucketEntry, PlainValidator(_entry_anywhere), PlainSerializer(str, when_used="json")]
    ],
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
        "list of them; relative to the job file; or addresses in a bucket, such as "
        "s3://bucket/pictures/. Names with a leading dot must be spelled out",
    ),
]
"""Where the sources are: absolute paths and patterns, each of which names something; or addresses."""


AllowEmpty = Annotated[bool, Field(description="finding no sources at all is not an error")]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

_FETCHING_BYTES = 160 << 20
"""160 MiB with objects, or members of archives, of 5 MB, 73 with members of 42 kB, 56 with tables: threads
that fetch ahead, and what they have fetched."""

MAX_PIXELS = 178_956_970
"""Pillow's own limit against decompression bombs."""


@dataclass(frozen=True)
class ReaderDescription:
    """What a reader says of itself, so that nobody else has to know which readers there are.

    `source` and `item` are what these are called, such as `video` and `frame`; `usual_extension` is what most
    sources end in. `worker_bytes` is the highest resident memory of a worker, with batches of 8. With
    `has_frames`, items have a number and a time; else a source is one item. `without_result` are the keys of
    its section that decide which sources there are, and change no row.
    """

    source: str
    item: str
    usual_extension: str
    worker_bytes: int
    has_frames: bool = False
    without_result: frozenset[str] = frozenset(
        ["path", "recursive", "storage", "max_pixels", "timeout_s", "allow_empty"]
    )


class ReaderSection(BaseModel):
    """The `reader` of a job, whatever it reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    description: ClassVar[ReaderDescription]

    kind: str
    path: Entries
    recursive: Annotated[bool, Field(description="also read subdirectories")] = True
    storage: Annotated[
        StorageSection | None, Field(description="how to reach the server, where path is in a bucket")
    ] = None

    @field_validator("path")
    @classmethod
    def _in_one_place(cls, path: list[Path | BucketEntry]) -> list[Path | BucketEntry]:
        remote = [entry for entry in path if isinstance(entry, BucketEntry)]
        if remote and len(remote) < len(path):
            raise ValueError("one job reads from a disk or from a bucket: use two jobs")
        if len({bucket_of(entry) for entry in remote}) > 1:
            raise ValueError("one job reads from one bucket: use a job for each")
        return path

    @field_validator("storage")
    @classmethod
    def _of_a_bucket(cls, storage: StorageSection | None, info: ValidationInfo) -> StorageSection | None:
        if storage is not None and any(isinstance(entry, Path) for entry in info.data.get("path", ())):
            raise ValueError("it is for buckets, but reader.path is on a disk: remove it")
        return storage

    @property
    def worker_bytes(self) -> int:
        """The highest resident memory of a worker of this job, without its slots."""
        return self.description.worker_bytes + (_FETCHING_BYTES if self.fetches else 0)

    @property
    def fetches(self) -> bool:
        """Whether a worker fetches sources from a server."""
        return bool(self.in_bucket)

    @property
    def on_disk(self) -> list[Path]:
        """The entries that are paths; all of them are, or none."""
        return [entry for entry in self.path if isinstance(entry, Path)]

    @property
    def in_bucket(self) -> tuple[BucketEntry, ...]:
        """The entries that are addresses in a bucket; all of them are, or none."""
        return tuple(entry for entry in self.path if isinstance(entry, BucketEntry))

    @property
    def drops_partial(self) -> bool:
        """Whether a damaged source gives no rows at all."""
        return False

    @property
    def carries(self) -> tuple[str, ...]:
        """Of what comes with sources, what becomes columns of the rows, by these names."""
        return ()

    def limited(self, _items: int) -> dict[str, object]:
        """Return what the section would say differently to take no more than so many items of a source."""
        return {}

    def over_files(self) -> dict[str, object]:
        """Return what the section of a job would say that reads the same sources as files."""
        return self.model_dump(mode="json")

    def nothing_there(self) -> str:
        """Return what to do where no source is found, and no file is passed over."""
        if self.in_bucket:
            return "check reader.path, and that the objects are there, with a name that begins like that"
        return "check reader.path, and that the disk is mounted"

    def files(self, extensions: frozenset[str]) -> Folder | InBucket:
        """Return what `path` names; extensions, lower case and with the dot, are of what folders give."""
        if self.in_bucket:
            storage = self.storage.storage if self.storage else Storage()
            return InBucket.of(self.in_bucket, self.recursive, extensions, storage)
        return Folder.of(self.on_disk, self.recursive, extensions)

    @abstractmethod
    def make_reader(self) -> Reader:
        """Make the reader that the job describes. What decodes is not imported yet."""


def nothing_found(section: ReaderSection, passed_over: PassedOver, before: int = 0) -> tuple[str, str]:
    """Return why a reader finds nothing, and the remedy; in an earlier run there were `before` sources."""
    what, places = f"{section.description.source}s", ", ".join(map(str, section.path))
    problem = f"no {what} found in {places}" + (f" (before, there were {before})" if before else "")
    if not passed_over:
        return problem, section.nothing_there()
    reader = section.make_reader()
    names = " ".join(sorted(reader.reach.extensions | reader.files.extensions))
    remedy = f"{what} are recognised by extension: {names}; a file named in reader.path may have any"
    return f"{problem}: {passed_over.describe()}", remedy
