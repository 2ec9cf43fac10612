"""Have labels drawn on sources, for tests."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet_pipe.head.classify import TopK
from resnet_pipe.reader.files import Folder
from resnet_pipe.writer.annotated.panel import Panel
from resnet_pipe.writer.registry import SECTIONS
from resnet_pipe.writer.writer import Target, Writer, WriterSection, Written
from tests.writer.shards import Rows, columns

LABELS = ("Egyptian cat", "tabby", "tiger cat", "espresso", "coffee mug", "cup")

CAT = [0, 1, 2], [0.75, 0.125, 0.0625]
COFFEE = [3, 4, 5], [0.5, 0.25, 0.125]
"""Classes and their scores."""
Best = tuple[list[int], list[float]]

FAULTS = """
import sys
if "resnet_pipe.writer.annotated.drawing_process" in sys.orig_argv:
    import ctypes, os, pathlib, time
    import av, simplejpeg
    FOLDER = pathlib.Path(__file__).parent

    def obey(word):
        if "segfault" in word:
            ctypes.string_at(0)
        elif "hang" in word:
            (FOLDER / "hang.reached").touch()
            ctypes.PyDLL(None).pause()  # in C, with the lock of the interpreter held
        elif "exit" in word:
            os._exit(3)
        elif "surprise" in word:
            raise OSError("nobody foresaw this")

    av_open, decode_jpeg = av.open, simplejpeg.decode_jpeg

    def open_(file, mode="r", **options):
        if mode == "r":
            obey(pathlib.Path(file).name)
        return av_open(file, mode, **options)

    def decode(data, *arguments, **options):
        if data[2:4] == b"\\xff\\xfe":
            obey(data[6 : 4 + int.from_bytes(data[4:6], "big")].decode())
        return decode_jpeg(data, *arguments, **options)

    av.open, simplejpeg.decode_jpeg = open_, decode
"""
"""What the decoder does depends on the name of a video, or on the comment of a JPEG."""


@dataclass(frozen=True)
class Drawing:
    """A writer of pictures, and what it is to make."""

    section: WriterSection
    target: Target

    def open(self) -> Drawer:
        """Begin."""
        return Drawer(self.section.open(self.target), self.target)


@dataclass(frozen=True)
class Drawer:
    """A writer that is at work."""

    writer: Writer
    target: Target

    def append(self, part: Rows) -> None:
        """Have some rows drawn."""
        self.writer.append(part.batch(self.target.schema))

    def close(self) -> Written:
        """Complete the files."""
        return self.writer.close()

    def discard(self) -> None:
        """Give up."""
        self.writer.discard()


def target(out: Path, root: Path, kind: str, labels: Sequence[str] = LABELS, **keys: Any) -> Drawing:  # noqa: ANN401
    """Return a writer and what it is told to make.

    Args:
        out: the output directory, created if missing.
        root: the folder of the sources.
        kind: of the writer.
        labels: by class index.
        keys: of the section.
    """
    out.mkdir(exist_ok=True)
    section = SECTIONS[kind].model_validate({"kind": kind, "path": "out", **keys}, context={"base": root})
    files = Folder.of([root], True, frozenset())
    return Drawing(section, Target(out, "000000", columns(section.fields, section.k, labels), files))


def rows(key: str, frames: Sequence[int | None], best: Best | Sequence[Best] = CAT) -> Rows:
    """Return the rows of one source.

    Args:
        key: of the source.
        frames: that the network saw; one None for an image.
        best: of all frames, or of each.
    """
    each = [best] * len(frames) if isinstance(best, tuple) else list(best)
    top_k = TopK(
        np.array([index for index, _ in each], np.int32), np.array([score for _, score in each], np.float32)
    )
    pts: list[float | None] = [None if frame is None else frame / 25 for frame in frames]
    return Rows([key] * len(frames), list(frames), pts, top_k=top_k)


def draw(made: Drawing, *parts: Rows) -> Written:
    """Have the files of a chunk made."""
    opened = made.open()
    for part in parts:
        opened.append(part)
    return opened.close()


def with_panel(picture: NDArray[np.uint8], best: Best, labels: Sequence[str] = LABELS) -> NDArray[np.uint8]:
    """Return a picture with the labels that must be on it."""
    drawn = picture.copy()
    height, width = picture.shape[:2]
    panel = _panel(width, height, tuple(labels))
    panel.draw(drawn, np.array(best[0], np.int32), np.array(best[1], np.float32))
    return drawn


@lru_cache(maxsize=20)
def _panel(width: int, height: int, labels: tuple[str, ...]) -> Panel:
    return Panel(width, height, labels, None)


def bring(monkeypatch: pytest.MonkeyPatch, folder: Path, faults: str) -> None:
    """Have all Python processes started from now on execute code before anything else.

    Args:
        monkeypatch: of the test, at whose end this ends.
        folder: where to put the code.
        faults: the code.
    """
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(faults)
    path = [str(folder), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))
