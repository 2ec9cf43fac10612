"""What is in objects below an address, as a part of `Files`."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from resnet_pipe.errors import SourceError
from resnet_pipe.reader import file
from resnet_pipe.reader.buckets.downloads import Downloads, Readable
from resnet_pipe.reader.listing import extension_of
from resnet_pipe.reader.packed import unpack
from resnet_pipe.reader.source import Source


@dataclass(frozen=True)
class Contents:
    """The contents of objects, by the keys of sources; `objects` is hashable."""

    objects: Readable

    def announce(self, key: str) -> None:
        """See `Files.announce`."""
        _downloads(self.objects).announce(name_of(key))

    def read(self, key: str, alive: Callable[[], None]) -> bytes:
        """See `Files.read`."""
        return _read(_downloads(self.objects), key, alive)

    def as_files(self, sources: Sequence[Source], folder: Path, alive: Callable[[], None]) -> list[Path]:
        """See `Files.as_files`; they are downloaded."""
        with closing(Downloads(self.objects)) as own:
            return unpack(
                sources,
                folder,
                lambda key: _read(own, key, alive),
                extension_of,
                lambda key: own.announce(name_of(key)),
            )


@cache
def _downloads(objects: Readable) -> Downloads:
    """Return those of this process."""
    return Downloads(objects)


def _read(downloads: Downloads, key: str, alive: Callable[[], None]) -> bytes:
    try:
        data = downloads.take(name_of(key), alive)
    except FileNotFoundError as error:
        raise SourceError("reader", "missing", str(error.strerror)) from None
    except MemoryError:
        raise SourceError("reader", "too_large", "not enough memory to read it") from None
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise SourceError("reader", "too_large", str(error.strerror)) from None
        raise file.refusal(error) from None
    if not data:
        raise SourceError("reader", "empty", "the object is empty")
    return data


def name_of(key: str) -> str:
    """Return the name of an object below the address; every one is valid text."""
    return key.replace("\\\\", "\\")
