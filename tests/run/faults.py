"""Faults that tests bring into the processes of a run: code that Python executes before anything else.

They replace functions of the libraries beneath resnet-pipe, never of resnet-pipe itself.
"""

from __future__ import annotations

import pytest

from resnet_pipe.reader.video.reader import VideoReader
from tests.run.jobs import JobFolder, wait_until

GATE = """
import pathlib, sys, time

IN_WORKER = "resnet_pipe.run.workers.worker_process" in sys.orig_argv
FOLDER = pathlib.Path(__file__).parent.parent  # of the job

def wait_at(gate):
    (FOLDER / f"{gate}.reached").touch()
    while not (FOLDER / f"{gate}.open").exists():
        time.sleep(0.01)
"""

DECODER = f"""
{GATE}
if IN_WORKER:
    import ctypes, os
    import PIL.Image, simplejpeg  # now, so that no source is charged for it
    decode_jpeg = simplejpeg.decode_jpeg

    def obey(word):
        if word == "segfault":
            ctypes.string_at(0)
        elif word == "kill":
            os.kill(os.getpid(), 9)
        elif word == "exit":
            raise SystemExit(3)
        elif word == "hang":
            (FOLDER / "hang.reached").touch()
            ctypes.PyDLL(None).pause()  # in C, with the lock of the interpreter held
        elif word == "raise":
            raise RuntimeError("a surprise")
        elif word.startswith("gate"):
            wait_at(word)
        else:
            time.sleep(float(word))

    def decode(data, *arguments, **options):
        if data[2:4] == b"\\xff\\xfe":
            obey(data[6 : 4 + int.from_bytes(data[4:6], "big")].decode())
        return decode_jpeg(data, *arguments, **options)

    simplejpeg.decode_jpeg = decode
"""
"""The decoder does what the comment of a JPEG says. Without this fault, a comment does nothing."""

ENGINE = f"""
{GATE}
if not IN_WORKER:
    import threading
    import cv2
    readNetFromONNX = cv2.dnn.readNetFromONNX

    class Net:
        def __init__(self, *arguments):
            self.net = readNetFromONNX(*arguments)

        def __getattr__(self, name):
            return getattr(self.net, name)

        def setInput(self, blob):
            self.blob = blob
            self.net.setInput(blob)

        def forward(self, names):
            if threading.current_thread() is not threading.main_thread():  # that is where it is loaded
                before_forward(self.blob)
            return self.net.forward(names)

    cv2.dnn.readNetFromONNX = Net
"""
"""Before each batch, before_forward(blob) is called, which code that follows defines."""


FRAMES = f"""
{GATE}
if IN_WORKER:
    import ctypes, os
    from resnet_pipe.reader.video.reader import VideoReader
    read = VideoReader.read

    def watched(self, key, min_side, span=None, *arguments):
        for item in read(self, key, min_side, span, *arguments):
            before_frame(key, item.frame_index)
            yield item

    VideoReader.read = watched
"""
"""Before a frame is given out, before_frame(key, frame_index) is called, which code that follows defines."""

SHORT_SPANS = """
from resnet_pipe.reader.video.reader import VideoReader

VideoReader.__init__.__defaults__ = (0.4, 0)
"""
"""Spans are as short as 0.4 seconds, and no video is too small to be split."""


def shorten_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do in this process what `SHORT_SPANS` does: workers are given the reader of their run."""
    monkeypatch.setattr(VideoReader.__init__, "__defaults__", (0.4, 0))


HASTY = "from resnet_pipe.reader.buckets import in_bucket; in_bucket.PATIENCE_S = 0.3"
"""What makes every process of a run give up a server soon."""

FEW_ENGINES = """
import sys

for name in ("openvino", "torch", "mlx"):
    sys.modules[name] = None
"""
"""Only opencv and onnxruntime are installed: where a network is refused, every other engine is tried."""

LISTING = f"""
{GATE}
import os
if not IN_WORKER:
    scandir = os.scandir

    def slow_scandir(path="."):
        if str(path).endswith("slow"):
            wait_at("gate")
        return scandir(path)

    os.scandir = slow_scandir
"""
"""Before a directory named `slow` is listed, the run waits at the gate."""


class Gate:
    """Where a process waits until the test lets it go on: wait_at(name) in a fault.

    Args:
        job: whose run has the fault.
        name: of the gate.
    """

    def __init__(self, job: JobFolder, name: str = "gate") -> None:
        self._name = name
        self._reached = job.folder / f"{name}.reached"
        self._open = job.folder / f"{name}.open"

    def wait(self) -> None:
        """Wait until the process is there."""
        wait_until(self._reached.exists, f"a process comes to {self._name}")

    def open(self) -> None:
        """Let it go on."""
        self._open.touch()


PROCESSOR = """
import pathlib
open_file = pathlib.Path.open

def open_another(self, *arguments, **options):
    if str(self) == "/proc/cpuinfo":
        self = pathlib.Path(__file__).with_name("cpuinfo")
    return open_file(self, *arguments, **options)

pathlib.Path.open = open_another
"""
"""Linux describes the processor that `pretend` has been told."""


def pretend(job: JobFolder, flags: str) -> str:
    """Return the fault with which Linux says that the processor has these instructions and no others."""
    folder = job.folder / "faults"
    folder.mkdir(exist_ok=True)
    (folder / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n\n")
    return PROCESSOR
