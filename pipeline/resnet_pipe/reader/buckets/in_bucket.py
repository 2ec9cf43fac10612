"""Objects in a bucket as sources, one object a source."""

from __future__ import annotations

import errno
import heapq
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate
from pathlib import Path

from resnet_pipe.errors import RunError
from resnet_pipe.reader import file
from resnet_pipe.reader.buckets.contents import Contents, name_of
from resnet_pipe.reader.buckets.entry import BucketEntry, common_start
from resnet_pipe.reader.buckets.object_file import ObjectFile
from resnet_pipe.reader.buckets.request import answer, started
from resnet_pipe.reader.listing import PassedOver, advance
from resnet_pipe.reader.reach import BucketReach
from resnet_pipe.reader.source import NOTHING, Carried, Source, version_of
from resnet_pipe.store.address import Address
from resnet_pipe.store.connection import Storage
from resnet_pipe.store.names import key_of
from resnet_pipe.store.objects import Objects, StoredObject

PATIENCE_S = 20.0
"""A server that cannot be reached for so long is not there: less than a run has when it commits."""
_REMEDIES = {
    errno.ENOENT: "correct the bucket in reader.path, or reader.storage.endpoint",
    errno.EACCES: "check the credentials, which are in the provider's own environment (AWS_ACCESS_KEY_ID or"
    " AWS_PROFILE, for example), and that they may list the bucket; of a public one, set"
    " reader.storage.anonymous: true",
    errno.EILSEQ: "rename or remove that object: names have no `//`, `.` or `..` and no control characters",
}
_UNREACHED = (
    "check reader.path, reader.storage.endpoint or AWS_ENDPOINT_URL, the region (AWS_REGION) and the network"
)


@dataclass(frozen=True)
class InBucket:
    """The objects that entries of one bucket name, as `Files`.

    As in a folder on a disk, names that begin with a dot are left out, and what an entry spells out is taken
    whatever its extension. Empty objects that stand for folders are none.
    """

    root: Address
    entries: tuple[BucketEntry, ...]
    recursive: bool
    extensions: frozenset[str]
    storage: Storage

    @classmethod
    def of(
        cls, entries: tuple[BucketEntry, ...], recursive: bool, extensions: frozenset[str], storage: Storage
    ) -> InBucket:
        """Return those that at least one entry names."""
        return cls(common_start(entries), entries, recursive, extensions, storage)

    @property
    def reach(self) -> BucketReach:
        """See `Files.reach`."""
        return BucketReach(self.entries, self.recursive, self.extensions)

    @property
    def _objects(self) -> Objects:
        return Objects(self.root, self.storage, PATIENCE_S)

    @property
    def _contents(self) -> Contents:
        return Contents(self._objects)

    def list_sources(self, passed_over: PassedOver | None = None) -> Iterator[Source]:
        """See `Files.list_sources`; no object is read."""
        with _refused(self.root):
            listings = [self._list(entry) for entry in self.entries]
            previous = None
            # What one entry passes over, another may name.
            for source, taken in heapq.merge(*listings, key=lambda found: (found[0].key, not found[1])):
                if source.key == previous:
                    continue
                previous = source.key
                if not source.size and self._objects.look(name_of(source.key)) is None:
                    continue  # its name ends in a slash: an empty folder
                if taken:
                    yield source
                elif passed_over is not None:
                    passed_over.add(source.key)

    def _list(self, entry: BucketEntry) -> Iterator[tuple[Source, bool]]:
        """Yield what an entry comes to, sorted; and whether it takes it, or passes it over."""
        prefix = _below(self.root, entry.start)
        if entry.object:
            found = self._objects.look(f"{prefix}{entry.object}")
            if found is None:
                raise RunError(
                    f"there is no object {entry}",
                    f"correct reader.path; if it is a folder, write {entry}/",
                )
            yield Source(key_of(found.name), found.size, version_of(found.size, found.tag)), True
            return
        endings = tuple(self.extensions)
        folder, wanted = None, frozenset([entry.pattern])
        for source in self._sorted(prefix):
            above, _, name = source.key[len(prefix) :].rpartition("/")
            if above != folder:
                folder, start = above, frozenset([entry.pattern])
                wanted = reduce(lambda left, part: advance(left, part, self.recursive), _parts(above), start)
            if wanted and () in advance(wanted, name, True):
                yield source._replace(key=key_of(source.key)), name.lower().endswith(endings)

    def _sorted(self, prefix: str) -> Iterator[Source]:
        """Yield all objects below a prefix as sources, which have their names yet, sorted.

        Where the server promises that order, they come as it lists them.
        """
        listed = self._objects.list(prefix.rstrip("/"))
        if not self._objects.is_sorted:
            yield from _all_sorted(listed)
            return
        last = ""
        for found in listed:
            if found.name > last:
                last = found.name
                yield Source(found.name, found.size, version_of(found.size, found.tag))
            elif found.size:  # if it has none, it stands for a folder, with a slash that is not told
                raise RunError(
                    f"{self.root} cannot be listed: {found.name} comes after {last}",
                    "the server does not sort objects by name, so set reader.storage.endpoint to its address",
                )

    def empty_places(self) -> Iterator[tuple[str, str]]:
        """See `Files.empty_places`."""
        with _refused(self.root):
            for start in {self.root, *(entry.start for entry in self.entries)}:
                prefix = _below(self.root, start)
                names = (
                    one.name[len(prefix) :] for one in self._objects.list(prefix.rstrip("/")) if one.size
                )
                if all(any(part.startswith(".") for part in _parts(name)) for name in names):
                    yield f"{start}/", key_of(prefix)

    def is_gone(self) -> bool:
        """See `Files.is_gone`."""
        try:
            return not any(found.size for found in self._objects.list())
        except OSError:
            return True

    def announce(self, key: str) -> None:
        """See `Files.announce`."""
        self._contents.announce(key)

    def read(self, key: str, alive: Callable[[], None]) -> bytes:
        """See `Files.read`."""
        return self._contents.read(key, alive)

    def open(
        self, key: str, alive: Callable[[], None] = lambda: None, listed: Source | None = None
    ) -> ObjectFile:
        """See `Containers.open`."""
        return ObjectFile(self._objects, name_of(key), alive, listed)

    def holder_of(self, key: str, alive: Callable[[], None] = lambda: None) -> str:
        """See `Containers.holder_of`: the first object on the way to it, if one is called like one."""
        names = list(accumulate(key.split("/"), "{}/{}".format))[:-1]
        endings = tuple(self.extensions)
        names.sort(key=lambda name: not name.lower().endswith(endings))  # most often, one look is enough
        return next((name for name in names if self._holds(name, alive)), key)

    def _holds(self, name: str, alive: Callable[[], None]) -> bool:
        """Tell whether there is an object with content, which an object that stands for a folder has not."""
        try:
            found = answer(started(lambda: self._objects.look(name_of(name))), alive)
        except OSError as error:
            raise file.refusal(error) from None
        return found is not None and found.size > 0

    def carried(self, _key: str, _alive: object = None) -> Carried:
        """See `Files.carried`: an object comes alone."""
        return NOTHING

    def as_files(self, sources: Sequence[Source], folder: Path, alive: Callable[[], None]) -> list[Path]:
        """See `Files.as_files`; they are downloaded."""
        return self._contents.as_files(sources, folder, alive)


def _below(root: Address, start: Address) -> str:
    """Return what the names of objects in a folder begin with: nothing, or a path that ends in a slash."""
    return f"{start[len(root) + 1 :]}/" if start != root else ""


def _parts(path: str) -> list[str]:
    return path.split("/") if path else []


def _all_sorted(listed: Iterator[StoredObject]) -> Iterator[Source]:
    """Yield objects as sources, sorted, when all are known.

    Some servers list what is in `a/` before `a.jpg` and `a-b/`. Of a million objects, this takes 200 MB.
    """
    names: list[str] = []
    sizes, versions = array("q"), array("q")
    for found in listed:
        names.append(found.name)
        sizes.append(found.size)
        versions.append(version_of(found.size, found.tag))
    for at in sorted(range(len(names)), key=names.__getitem__):
        yield Source(names[at], sizes[at], versions[at])


@contextmanager
def _refused(root: Address) -> Iterator[None]:
    """Turn errors of the server into one of the run."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, _UNREACHED)
        raise RunError(f"{root} cannot be listed: {error.strerror or error}", remedy) from None
