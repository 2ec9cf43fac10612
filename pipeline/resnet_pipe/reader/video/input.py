"""What FFmpeg reads a video from: its path, or where that is on no disk, the bytes that it asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.file import check_readable, refusal
from resnet_pipe.reader.opened import AsFile, DiskFile, Opened

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Input(AsFile):
    """An open file, from its beginning; closing it leaves that open.

    FFmpeg may take an error for damage, or go on: where the file cannot be read, it ends, and there is a
    problem.

    Attributes:
        name: for FFmpeg, which looks at the extension.
        path: that of the file; None if it is on no disk.
        problem: why it has ended; None if it has not.
    """

    def __init__(self, opened: Opened, alive: Callable[[], None]) -> None:
        super().__init__(opened, alive)
        self.path: Path | None = opened.path if isinstance(opened, DiskFile) else None
        self.name = f"video{PurePosixPath(opened.place).suffix}"
        self.problem: SourceError | None = None

    def readinto(self, buffer: Buffer) -> int:
        """See `AsFile.readinto`."""
        if self.problem is None:
            try:
                return super().readinto(buffer)
            except OSError as error:
                self.problem = refusal(error)
        return 0

    def check(self) -> None:
        """Find out whether trouble with the video is that of its disk, or of its server; `alive` is called.

        If so, this raises a `SourceError`: `unreadable` or `missing`. A file of a disk is read once, because
        FFmpeg reads it on its own.
        """
        if self.problem is not None:
            raise self.problem
        if self.path is not None:
            check_readable(self.path, self.alive)

    def close(self) -> None:
        """Do nothing: it may be read again."""
