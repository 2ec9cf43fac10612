"""Large objects in a bucket as sources, each of which is copied to the disk of this machine to be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.buckets import copies
from resnet_pipe.reader.buckets.copies import Copy
from resnet_pipe.reader.buckets.in_bucket import InBucket
from resnet_pipe.reader.files import Folder, LargeFiles
from resnet_pipe.reader.listing import PassedOver, extension_of
from resnet_pipe.reader.opened import DiskFile, Opened
from resnet_pipe.reader.packed import spread
from resnet_pipe.reader.reach import BucketReach
from resnet_pipe.reader.source import NOTHING, Carried, Source
from resnet_pipe.store.address import Address


def large_files(files: Folder | InBucket, copies_gib: float | None) -> LargeFiles:
    """Return files that are too large for the memory; all copies together may have so many GiB."""
    if isinstance(files, Folder):
        return files
    return CopiedObjects(files, None if copies_gib is None else int(copies_gib * 2**30))


_kept: list[Copy] = []
"""The copy that this process has used last, if it may be used again soon; at most one."""


@dataclass(frozen=True)
class CopiedObjects:
    """The objects of `bucket`, as `LargeFiles`; all copies may have `most` bytes, see `copies.take`."""

    bucket: InBucket
    most: int | None

    @property
    def root(self) -> Address:
        """See `Files.root`."""
        return self.bucket.root

    @property
    def reach(self) -> BucketReach:
        """See `Files.reach`."""
        return self.bucket.reach

    @property
    def extensions(self) -> frozenset[str]:
        """See `Files.extensions`."""
        return self.bucket.extensions

    def list_sources(self, passed_over: PassedOver | None = None) -> Iterator[Source]:
        """See `Files.list_sources`."""
        return self.bucket.list_sources(passed_over)

    def empty_places(self) -> Iterator[tuple[str, str]]:
        """See `Files.empty_places`."""
        return self.bucket.empty_places()

    def is_gone(self) -> bool:
        """See `Files.is_gone`."""
        return self.bucket.is_gone()

    def announce(self, key: str) -> None:
        """See `Files.announce`: nothing is read ahead."""

    def read(self, key: str, alive: Callable[[], None]) -> bytes:
        """See `Files.read`."""
        return self.bucket.read(key, alive)

    def carried(self, _key: str, _alive: object = None) -> Carried:
        """See `Files.carried`: an object comes alone."""
        return NOTHING

    def as_files(self, sources: Sequence[Source], folder: Path, alive: Callable[[], None]) -> list[Path]:
        """See `Files.as_files`; they are copied."""
        paths = []
        for number, source in enumerate(spread(sources, folder)):
            paths.append(folder / f"{number:06d}{extension_of(source.key)}")
            with paths[-1].open("wb") as target:
                try:
                    with closing(self.bucket.open(source.key, alive)) as opened:
                        opened.copy_to(target, alive)
                except SourceError:
                    target.truncate(0)
        return paths

    @contextmanager
    def at_hand(self, key: str, alive: Callable[[], None], again: bool = False) -> Iterator[Opened]:
        """See `LargeFiles.at_hand`."""
        with closing(self.bucket.open(key, alive)) as opened:
            copy = next((one for one in _kept if one.stamp == opened.stamp), None)
            if copy is None:
                _keep(None)
                copy = copies.take(opened, self.most, alive)
            else:
                _kept.clear()
            if copy is None:
                yield opened
                return
            try:
                with closing(DiskFile(copy.path, passing=True)) as on_disk:
                    yield on_disk
            finally:
                _keep(copy)
                if not again:
                    _keep(None)

    def sweep(self) -> None:
        """See `LargeFiles.sweep`."""
        copies.sweep()


def _keep(copy: Copy | None) -> None:
    """Keep a copy in the place of another one."""
    while _kept:
        _kept.pop().give_back()
    if copy is not None:
        _kept.append(copy)
