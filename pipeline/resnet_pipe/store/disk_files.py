"""The files on a disk: their names, what is there, and what is in it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from resnet_pipe.store import atomic
from resnet_pipe.store.digest import file_sha256
from resnet_pipe.store.names import key_of, path_of
from resnet_pipe.store.store import HOME, WHOLE, Store, StoredFile

_ABSENT = frozenset([errno.ENOENT, errno.ENOTDIR, errno.ELOOP])


class DiskFiles(Store):
    """What of a `Store` is about files that are final."""

    root: Path

    def __init__(self, root: Path, tag: str) -> None:
        self.root = root
        self.home = root / HOME
        self.tag = tag
        self.spool = self.home / "spool" / (tag or WHOLE)

    def path(self, name: str) -> Path:
        """Return the path of a file, whether it is there or not."""
        return path_of(self.root, name)

    def where(self, name: str) -> str:
        """See `Store.where`: its path."""
        return str(self.path(name))

    def list(self, folder: str) -> Iterator[StoredFile]:
        """See `Store.list`; what begins with a dot is being written."""
        try:
            names = sorted(os.listdir(self.path(folder)))  # noqa: PTH208 - names, not paths
        except FileNotFoundError:
            return
        for name in names:
            if not name.startswith("."):
                found = self.look(f"{folder}/{key_of(name)}" if folder else key_of(name))
                if found is not None:  # otherwise it is a folder, or has gone meanwhile
                    yield found

    def look(self, name: str) -> StoredFile | None:
        """See `Store.look`: of a regular file."""
        try:
            state = self.path(name).stat()
        except ValueError:  # a name that no file can have
            return None
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise
        return StoredFile(name, state.st_size, state.st_mtime_ns) if stat.S_ISREG(state.st_mode) else None

    def read(self, name: str) -> bytes:
        """See `Store.read`."""
        return self.path(name).read_bytes()

    def has(self, names: Sequence[str]) -> bool:
        """See `Store.has`."""
        return all(self.look(name) is not None for name in names)

    def sha256(self, name: str) -> str | None:
        """See `Store.sha256`."""
        return file_sha256(self.path(name)) if self.path(name).is_file() else None

    def read_all(self, names: Sequence[str]) -> Iterator[bytes]:
        """See `Store.read_all`."""
        return map(self.read, names)

    def gather(self, _names: Iterable[str]) -> Path:
        """See `Store.gather`: where they are."""
        return self.root

    def put(self, name: str, data: Iterable[bytes]) -> None:
        """See `Store.put`."""
        with atomic.replacing(self.path(name), self.tag) as temporary, temporary.open("wb") as file:
            file.writelines(data)

    @contextmanager
    def put_after(self, name: str, data: Iterable[bytes]) -> Iterator[None]:
        """See `Store.put_after`: it is beside its name meanwhile, and flushed."""
        with atomic.replacing(self.path(name), self.tag) as temporary:
            with temporary.open("wb") as file:
                file.writelines(data)
            atomic.sync(temporary)
            yield

    def delete(self, names: Iterable[str]) -> None:
        """See `Store.delete`; folders that are empty then go as well."""
        for folder in {self._remove(name) for name in names}:
            if folder.is_dir():
                atomic.sync(folder)

    def _remove(self, name: str) -> Path:
        """Remove a file, and the folders that are empty then; return the nearest folder that is left."""
        path = self.path(name)
        path.unlink(missing_ok=True)
        for directory in path.parents:
            if directory in (self.root, self.home) or self.home in directory.parents:
                break
            if self.tag and directory.is_dir():
                break  # another division may be about to put a file into an empty one
            try:
                directory.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                break  # it is not empty
        return directory
