"""Has labels drawn by a process of its own, which may crash or hang on a hostile file."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from enum import Enum
from math import inf
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import RunError, SourceError
from resnet_pipe.process.child import Child, ChildError, SilentError
from resnet_pipe.reader.files import Files
from resnet_pipe.writer.annotated.seen import Seen

_START_S = 60.0
"""The longest that a process may take to start."""


@dataclass(frozen=True)
class DrawingSetup:
    """What is the same for all sources of a chunk: the first message.

    Attributes:
        files: where the sources are.
        labels: by class index.
        quality: of the pictures: constant rate factor of the video, or JPEG's quality.
        track: as for `Target`.
    """

    kind: Literal["video", "images"]
    files: Files
    directory: Path
    labels: tuple[str, ...]
    font: Path | None
    quality: int
    track: int | None


@dataclass(frozen=True)
class Request:
    """One source, and what the network saw in it.

    Attributes:
        frame_index: int64, shape (rows,), increasing; None for an image, which has one row.
    """

    key: str
    frame_index: NDArray[np.int64] | None
    seen: Seen


class Step(Enum):
    """Signs of life of the process."""

    READY = "it has started"
    ALIVE = "it reads, draws or encodes"
    CLOSING = "it closes a file, which takes as long as the disk takes"


@dataclass(frozen=True)
class Answer:
    """What has become of a source: its files, relative to the directory, and why they are not complete."""

    files: tuple[Path, ...] = ()
    failure: SourceError | None = None


Message = Step | Answer | OSError
"""An `OSError`: nothing can be written."""


class Annotator:
    """Has the files of one source after the other made, while the caller goes on.

    A source whose process gives no response for `timeout_s` is given up, and the process replaced.
    """

    def __init__(self, setup: DrawingSetup, timeout_s: float) -> None:
        self._setup = setup
        self._timeout_s = timeout_s
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._answers: dict[str, Answer] = {}
        self._problem: Exception | None = None
        self._process: Child | None = None
        self._ends = False
        self._lock = threading.Lock()
        """Held while a process is started, and while none must be."""
        # It starts the processes, and they die with the thread that did: so it is the one that stays.
        self._thread = threading.Thread(target=self._serve, name="annotator", daemon=True)
        self._thread.start()

    def put(self, request: Request) -> None:
        """Have the files of a source made.

        Raises:
            OSError: those of an earlier source could not be written.
            RunError: the process did not start.
        """
        if self._problem is not None:
            raise self._problem
        self._requests.put(request)

    def finish(self) -> dict[str, Answer]:
        """Wait until all is done; return what has become of each source, by its key. Raises like `put`."""
        self._requests.put(None)
        self._thread.join()
        if self._problem is not None:
            raise self._problem
        return self._answers

    def kill(self) -> None:
        """Give up what is not done."""
        with self._lock:
            self._ends = True
            if self._process is not None:
                self._process.kill()
        self._requests.put(None)
        self._thread.join()

    def _serve(self) -> None:
        try:
            while (request := self._requests.get()) is not None and not self._ends:
                self._answers[request.key] = self._ask(request)
        except Exception as error:
            self._problem = error
        finally:
            if self._process is not None:
                self._process.end()

    def _ask(self, request: Request) -> Answer:
        if self._process is None:
            with self._lock:
                if self._ends:
                    return Answer()
                self._process = Child("resnet_pipe.writer.annotated.drawing_process")
            self._process.send(self._setup)
            try:
                self._process.receive(_START_S)
            except ChildError as error:
                text = f"cannot draw labels: the process that draws labels {error}"
                remedy = "check its messages above, the memory limits and the installation"
                raise RunError(text, remedy) from None
        try:
            self._process.send(request)
            message: Message = Step.ALIVE
            while isinstance(message, Step):
                message = self._process.receive(inf if message is Step.CLOSING else self._timeout_s)
        except ChildError as error:
            self._process.end()
            self._process = None
            name = "timeout" if isinstance(error, SilentError) else "worker_died"
            return Answer(failure=SourceError("writer", name, f"the process that draws labels {error}"))
        if isinstance(message, OSError):
            raise message
        return message
