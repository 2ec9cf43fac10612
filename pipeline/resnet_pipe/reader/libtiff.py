"""Hear libtiff, which reports some damage on standard error alone and goes on with made-up pixels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from resnet_pipe.reader.stderr import standard_error


@contextmanager
def strict() -> Iterator[None]:
    """Make an exception of what libtiff says while the block decodes a TIFF file.

    The standard error of the whole process goes elsewhere meanwhile: decode in one thread only.

    Raises:
        ValueError: with the error of the block, if there is one, and the first line that libtiff wrote.
    """
    with standard_error() as first_line:
        try:
            yield
        except (OSError, SyntaxError, ValueError) as error:
            line = first_line()
            raise ValueError(f"{error}: {line}" if line else str(error)) from error
        if line := first_line():
            raise ValueError(line)
