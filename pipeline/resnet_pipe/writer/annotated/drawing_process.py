"""The process that draws labels or boxes on pictures, with its own decoders: it reads the sources again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.files import LargeFiles
from resnet_pipe.store import atomic
from resnet_pipe.writer.annotated.annotator import Answer, DrawingSetup, Message, Request, Step
from resnet_pipe.writer.annotated.box_painter import BoxPainter
from resnet_pipe.writer.annotated.encoder import VideoFile
from resnet_pipe.writer.annotated.names import mirrored
from resnet_pipe.writer.annotated.panel import Panel
from resnet_pipe.writer.annotated.second_reading import Picture, read_image, read_video
from resnet_pipe.writer.annotated.seen import Labels

_LARGEST_JPEG = 65_500
"""Width and height in pixels: libjpeg's limit."""
_BEAT_S = 0.1
"""How often to show that this process is alive."""


class Painter:
    """Draws labels on the pictures of one source after the other, and tells the parent how far it is."""

    def __init__(self, setup: DrawingSetup, say: Callable[[Step], None]) -> None:
        self._setup = setup
        self._say = say
        self._said_at = 0.0
        self._panel: Panel | None = None
        self._boxes: BoxPainter | None = None
        self._shape: tuple[int, ...] = ()
        """Of the pictures that these draw on."""

    def paint(self, request: Request) -> Message:
        """Make the files of a source; if it is damaged, of the pictures before the damage.

        An OSError, if one cannot be written, has its name, or that of the directory.
        """
        files: list[Path] = []
        try:
            if self._setup.kind == "video":
                self._make_video(request, files)
            elif request.frame_index is None:
                self._make_picture(request, files)
            else:
                self._make_pictures(request, request.frame_index, files)
        except SourceError as error:
            return Answer(tuple(files), SourceError("writer", error.error, error.message))
        except OSError as error:  # one of writing names no file
            return OSError(error.errno, error.strerror, str(error.filename or self._setup.directory))
        except Exception as error:
            return Answer(failure=_surprise(error))
        return Answer(tuple(files))

    def _make_video(self, request: Request, files: list[Path]) -> None:
        path = mirrored(self._setup.kind, request.key, ".mp4", (".mp4",))
        video: VideoFile | None = None
        try:
            for picture in self._video(request, None):
                if video is None:
                    video = VideoFile(self._place(path), picture.form, self._setup.quality)
                self._label(picture.pixels, request, picture.position)
                video.write(picture.pixels, picture.pts, picture.duration)
                self._live()
        finally:
            if video is not None:
                self._say(Step.CLOSING)
                if video.close():
                    files.append(path)

    def _make_pictures(self, request: Request, wanted: NDArray[np.int64], files: list[Path]) -> None:
        folder = mirrored(self._setup.kind, request.key, "", (".jpg",))
        for picture in self._video(request, wanted):
            self._label(picture.pixels, request, picture.position)
            self._save(picture.pixels, folder / f"{picture.position:08d}.jpg", files)

    def _make_picture(self, request: Request, files: list[Path]) -> None:
        with _guarded():
            pixels = read_image(self._setup.files.read(request.key, self._live))
        self._label(pixels, request, 0)
        self._save(pixels, mirrored(self._setup.kind, request.key, ".jpg", (".jpg",)), files)

    def _label(self, pixels: NDArray[np.uint8], request: Request, position: int) -> None:
        row = 0
        if request.frame_index is not None:
            row = int(np.searchsorted(request.frame_index, position, side="right")) - 1
        if row < 0:  # before the first frame that the network saw
            return
        if self._shape != pixels.shape:
            self._shape, self._panel, self._boxes = pixels.shape, None, None
        height, width, _ = pixels.shape
        seen, labels, font = request.seen, self._setup.labels, self._setup.font
        if isinstance(seen, Labels):
            self._panel = self._panel or Panel(width, height, labels, font)
            self._panel.draw(pixels, seen.index[row], seen.score[row])
        else:
            self._boxes = self._boxes or BoxPainter(width, height, labels, font)
            self._boxes.draw(pixels, seen.of_frame(row))

    def _save(self, pixels: NDArray[np.uint8], path: Path, files: list[Path]) -> None:
        if max(pixels.shape) > _LARGEST_JPEG:
            height, width, _ = pixels.shape
            raise SourceError("writer", "too_large", f"{width} x {height} pixels: too many for a JPEG")
        self._place(path).write_bytes(simplejpeg.encode_jpeg(pixels, self._setup.quality, "RGB"))
        files.append(path)

    def _live(self) -> None:
        now = time.monotonic()
        if now - self._said_at > _BEAT_S:
            self._said_at = now
            self._say(Step.ALIVE)

    def _video(self, request: Request, wanted: NDArray[np.int64] | None) -> Iterator[Picture]:
        files = self._setup.files
        if not isinstance(files, LargeFiles):
            raise TypeError(f"there are no videos in {files.root}")
        with _guarded(), files.at_hand(request.key, self._live) as opened:
            yield from read_video(opened, self._setup.track, wanted, self._live)

    def _place(self, path: Path) -> Path:
        place = self._setup.directory / path
        atomic.make_folder(place.parent, self._setup.directory)
        return place


@contextmanager
def _guarded() -> Iterator[None]:
    """Make a library's surprise on one source cost that source."""
    try:
        yield
    except SourceError:
        raise
    except Exception as error:
        raise _surprise(error) from error


def _surprise(error: Exception) -> SourceError:
    return SourceError("writer", type(error).__name__, " ".join(str(error).split()))


def serve(connection: Connection) -> None:
    """Draw what an `Annotator` asks for."""
    painter = Painter(connection.recv(), connection.send)
    connection.send(Step.READY)
    while True:
        connection.send(painter.paint(connection.recv()))
