"""What the library of buckets raises, as an OSError that says it in a line, without secrets."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from resnet_pipe.errors import MissingExtraError
from resnet_pipe.store.address import Address

_LONGEST = 300
"""Characters of an error."""
_INVALID = re.compile(r'Error parsing Path "(.*?)": ', re.DOTALL)
"""What the library says of an object whose name it cannot represent."""
_SERVER = re.compile(r"Error performing [A-Z]+ (https?://)(?:[^/\s@]*@)?([^/\s?]+)")
_SAID = re.compile(r" in [\d.]+\w+(?:, after [^-]*)? +- (?:Server returned non-2xx status code: )?([^<\n]*)")
_DETAILS = re.compile(r"<(?:Code|Message)>([^<]*)<|message: \"([^\"]*)\"")
"""What the library says of a request: which server, without a password; what came of it; and why."""


@contextmanager
def explained(address: Address, name: str = "") -> Iterator[None]:
    """Turn what the library raises into an OSError that says it in a line, and its lack into a UsageError."""
    try:
        from obstore.exceptions import (
            BaseError,
            InvalidPathError,
            PermissionDeniedError,
            UnauthenticatedError,
        )
    except ModuleNotFoundError as error:
        raise MissingExtraError("obstore", "cloud", f"Reading or writing {address}") from error

    place = f"{address}/{name}" if name else str(address)
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "no such object", place) from None
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise PermissionError(errno.EACCES, _line(error), place) from None
    except InvalidPathError as error:
        named = _INVALID.search(str(error))
        text = f"an object has a name that cannot be read: {named[1]!r}" if named else _line(error)
        raise OSError(errno.EILSEQ, text, place) from None
    except ValueError as error:
        raise OSError(errno.EINVAL, _line(error), place) from None
    except (BaseError, OSError) as error:  # of a listing, or a writer, whatever the server says
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of this machine
        line = _line(error)
        if "NoSuchBucket" in line or "ContainerNotFound" in line:
            raise FileNotFoundError(errno.ENOENT, line, place) from None
        refused = "403 Forbidden" in line or "401 Unauthorized" in line
        raise OSError(errno.EACCES if refused else errno.EIO, line, place) from None


def _line(error: Exception) -> str:
    """Return in a line what the library says of an error; not the whole request, which may hold secrets."""
    text = str(error).strip() or type(error).__name__
    said = _SAID.search(text)
    if said is None:
        return _shortened(text.splitlines()[0])
    server, details = _SERVER.search(text), _DETAILS.findall(text)
    words = [
        f"{server[1]}{server[2]}" if server else "",
        said[1].strip(" :"),
        *dict.fromkeys(map("".join, details)),
    ]
    return _shortened(": ".join(filter(None, words)))


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
