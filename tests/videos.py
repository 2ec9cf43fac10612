"""Small videos for the tests, made with PyAV from scikit-image's photographs.

Every frame says in its pixels which frame it is: a strip of eight blocks at its top, white for 1 and black
for 0, most significant bit first. So what a reader gives out can be compared with what it calls it.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream
from numpy.typing import NDArray

from tests.photographs import photograph
from tests.threads import apart

os.environ.setdefault("SVT_LOG", "-1")  # the encoder of AV1 would print its settings

Frame = NDArray[np.uint8]

BITS = 8
WIDTH, HEIGHT = 160, 120
FRAMES = 40


@cache
def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> Frame:
    """Return frame `number`: a part of a photograph that moves, below the strip. Do not change it.

    Returns:
        uint8, shape (height, width, 3), RGB.
    """
    photo = np.asarray(photograph("coffee.png").resize((width + 64, height)))
    left = round(32 + 31 * np.sin(number / 6))
    frame = photo[:, left : left + width].copy()
    strip = frame[: _strip(height)]
    for bit in range(BITS):
        block = slice(bit * width // BITS, (bit + 1) * width // BITS)
        strip[:, block] = 255 * (number >> (BITS - 1 - bit) & 1)
    return frame


def number_of(frame: Frame) -> int:
    """Return the number that `picture` has drawn into a frame, which may have been scaled and compressed."""
    height, width = frame.shape[:2]
    middle = frame[_strip(height) // 2]
    bits = [middle[(2 * bit + 1) * width // (2 * BITS)].mean() > 127 for bit in range(BITS)]
    return sum(int(bit) << (BITS - 1 - place) for place, bit in enumerate(bits))


def _strip(height: int) -> int:
    return max(1, height // 5)


@dataclass(frozen=True)
class Recipe:
    """How to make a video.

    Attributes:
        name: of the file; its extension decides the container.
        codec: name of FFmpeg's encoder.
        options: of the encoder.
        pixels: the pixel format.
        size: width and height.
        frames: how many.
        first: number of the first picture.
        pts: presentation times in units of `time_base`; None for 0, 1, 2, ...
        time_base: seconds per unit.
        muxer: options of the container.
        setup: changes the stream before the first frame.
        finish: changes the bytes of the finished file.
        opencv: why `backend: opencv` cannot do it as well; None if it can.
        splits: whether it can be divided into spans.
    """

    name: str
    codec: str
    options: Mapping[str, str] = field(default_factory=dict)
    pixels: str = "yuv420p"
    size: tuple[int, int] = (WIDTH, HEIGHT)
    frames: int = FRAMES
    first: int = 0
    pts: Sequence[int] | None = None
    time_base: Fraction = Fraction(1, 25)
    muxer: Mapping[str, str] = field(default_factory=dict)
    setup: Callable[[VideoStream], None] | None = None
    finish: Callable[[bytes], bytes] | None = None
    opencv: str | None = None
    splits: bool = True


def make(folder: Path, recipe: Recipe) -> Path:
    """Make the video of a recipe, unless it has been made before."""
    path = folder / recipe.name
    if not path.exists():
        apart(_encode, path, recipe)
    return path


def _encode(path: Path, recipe: Recipe) -> None:
    width, height = recipe.size
    with av.open(str(path), "w", options=dict(recipe.muxer)) as container:
        stream = container.add_stream(recipe.codec, rate=25, options=dict(recipe.options))
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, recipe.pixels
        stream.codec_context.time_base = recipe.time_base
        if recipe.setup is not None:
            recipe.setup(stream)
        container.start_encoding()
        for number, pts in enumerate(recipe.pts or range(recipe.frames)):
            frame = frame_of(picture(recipe.first + number, width, height), recipe.pixels)
            frame.pts, frame.time_base = pts, recipe.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if recipe.finish is not None:
        path.write_bytes(recipe.finish(path.read_bytes()))


def frame_of(pixels: Frame, format_: str) -> av.VideoFrame:
    """Return RGB pixels as a frame of a pixel format: BT.601, and limited range unless the format is full."""
    frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
    full = format_.startswith(("yuvj", "rgb", "bgr", "gray"))
    return frame.reformat(
        format=format_,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        dst_colorspace=Colorspace.ITU601,
    )


def x264(parameters: str = "") -> dict[str, str]:
    """Return options of libx264: three B-frames, a key frame every twelve frames."""
    return {
        "preset": "veryfast",
        "x264-params": f"keyint=12:min-keyint=12:scenecut=0:bframes=3:threads=1:{parameters}".rstrip(":"),
    }


def x265(parameters: str = "") -> dict[str, str]:
    """Return options of libx265: three B-frames, a key frame every twelve frames."""
    return {
        "preset": "ultrafast",
        "x265-params": "keyint=12:min-keyint=12:scenecut=0:bframes=3:pools=1:frame-threads=1:log-level=none:"
        f"{parameters}".rstrip(":"),
    }


VP9 = {"deadline": "realtime", "cpu-used": "8", "g": "12", "lag-in-frames": "10", "threads": "1"}
MPEG4 = {"bf": "2", "g": "12", "qscale": "3", "flags": "+qscale"}


def display_matrix(a: int, b: int, c: int, d: int) -> Callable[[bytes], bytes]:
    """Return what writes a matrix into the track header of an MP4 file (ISO/IEC 14496-12, section 8.3.2)."""

    def write(data: bytes) -> bytes:
        start = data.index(b"tkhd") + 44
        unit = 1 << 16
        matrix = struct.pack(">9i", a * unit, b * unit, 0, c * unit, d * unit, 0, 0, 0, 1 << 30)
        return data[:start] + matrix + data[start + len(matrix) :]

    return write


IRREGULAR = [
    round(1000 * (number / 25 + 0.3 * (number // 10) + 0.013 * (number % 3))) for number in range(FRAMES)
]
"""Milliseconds; gaps from 27 to 353, never two alike in a row."""

SAMPLES = {
    recipe.name: recipe
    for recipe in (
        Recipe("h264.mp4", "libx264", x264()),
        Recipe("h264-first-moov.mp4", "libx264", x264(), muxer={"movflags": "faststart"}),
        Recipe("h264-fragments.mp4", "libx264", x264(), muxer={"movflags": "frag_keyframe+empty_moov"}),
        Recipe("h264-open.mkv", "libx264", x264("open-gop=1:b-pyramid=normal")),
        Recipe("h264-open.mp4", "libx264", x264("open-gop=1")),
        Recipe("h264.ts", "libx264", x264("open-gop=1")),
        Recipe("h264.flv", "libx264", x264()),
        Recipe("irregular.mkv", "libx264", x264(), pts=IRREGULAR, time_base=Fraction(1, 1000)),
        Recipe("irregular.mp4", "libx264", x264(), pts=IRREGULAR, time_base=Fraction(1, 1000)),
        Recipe("ntsc.mp4", "libx264", x264(), time_base=Fraction(1001, 30000)),
        Recipe("late.mp4", "libx264", x264(), pts=range(50, 50 + FRAMES)),
        Recipe("late.ts", "libx264", x264(), pts=range(90, 90 + FRAMES)),
        Recipe("hevc.mp4", "libx265", x265("open-gop=1")),
        Recipe("hevc.mkv", "libx265", x265("open-gop=1:b-pyramid=1")),
        Recipe("hevc-10-bit.mp4", "libx265", x265(), pixels="yuv420p10le"),
        Recipe("vp8.webm", "libvpx", {"deadline": "good", "cpu-used": "5", "g": "12", "b": "2M"}),
        Recipe("vp9.webm", "libvpx-vp9", VP9),
        Recipe("av1.mp4", "libsvtav1", {"preset": "11", "svtav1-params": "keyint=12:lp=1"}, opencv="no AV1"),
        Recipe("mpeg4.mp4", "mpeg4", MPEG4),
        Recipe("mpeg4.avi", "mpeg4", MPEG4, splits=False),
        Recipe("h264.avi", "libx264", x264(), splits=False),
        Recipe("mpeg2.mpg", "mpeg2video", MPEG4, splits=False),
        Recipe("mpeg2.ts", "mpeg2video", MPEG4),
        Recipe("mjpeg.mov", "mjpeg", {"qmin": "2", "qmax": "2"}, pixels="yuvj420p"),
        Recipe("mjpeg.avi", "mjpeg", {"qmin": "2", "qmax": "2"}, pixels="yuvj420p"),
        Recipe("prores.mov", "prores_ks", pixels="yuv422p10le"),
        Recipe("ffv1.mkv", "ffv1", pixels="bgr0"),
        Recipe("one.mp4", "libx264", x264(), frames=1, splits=False),
        Recipe("two.webm", "libvpx-vp9", VP9, frames=2, splits=False),
        Recipe("odd.webm", "libvpx-vp9", VP9, size=(161, 121)),
        Recipe("odd.mp4", "libx264", x264(), pixels="yuv444p", size=(97, 75)),
        Recipe("refresh.mkv", "libx264", x264("intra-refresh=1"), splits=False),
        Recipe("interlaced.mp4", "libx264", x264("interlaced=1:tff=1"), opencv="interlaced", splits=False),
    )
}
"""One video for each way of coding, containing and timing frames, by the name of its file."""


def frame_times(path: Path) -> list[float | None]:
    """Return the times of all frames as ffprobe gives them, or where that is not installed, PyAV.

    Returns:
        Seconds; None for frames of which they do not know it.
    """
    if shutil.which("ffprobe"):
        show = ("-select_streams", "v:0", "-show_frames", "-show_entries", "frame=best_effort_timestamp_time")
        command = ["ffprobe", "-v", "quiet", *show, "-of", "json", str(path)]
        done = subprocess.run(command, capture_output=True, check=True, text=True)
        frames = json.loads(done.stdout)["frames"]
        return [
            float(frame[key]) if (key := "best_effort_timestamp_time") in frame else None for frame in frames
        ]
    return [time for time, _ in plain_pass(path)]


def plain_pass(path: Path) -> Iterator[tuple[float | None, Any]]:
    """Decode all of a video in the plainest way, and yield times (seconds) and frames of PyAV."""
    with av.open(str(path)) as container:
        container.flags &= ~1  # no times that the file does not hold
        for frame in container.decode(video=0):
            pts = frame.dts if frame.pts is None else frame.pts
            assert frame.time_base
            yield None if pts is None else float(pts * frame.time_base), frame


def cut_off(path: Path, to: Path, part: float) -> Path:
    """Write the first part of a file, a number of bytes below 0 meaning without so many at its end."""
    data = path.read_bytes()
    to.write_bytes(data[: round(part * len(data)) if 0 < part < 1 else round(part)])
    return to


def named(recipe: Recipe, name: str, **changes: Any) -> Recipe:  # noqa: ANN401 - fields of Recipe
    """Return a recipe under another name, with other fields."""
    return replace(recipe, name=name, **changes)
