"""Make sample videos for the example job and the benchmarks: a camera that pans over real photographs.

usage: python jobs/sample_videos.py DIRECTORY

Three short H.264 clips: landscape, portrait, and one at 29.97 frames a second. Files that are there already
are left alone.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from jobs.samples import photographs

Frame = NDArray[np.uint8]
SHOT_S = 2.0
"""Seconds after which the camera turns to the next photograph."""


@dataclass(frozen=True)
class Clip:
    """What a video is like."""

    width: int
    height: int
    rate: Fraction
    seconds: float


CLIPS = {
    "landscape.mp4": Clip(640, 360, Fraction(25), 8),
    "portrait.mp4": Clip(360, 640, Fraction(30), 6),
    "ntsc.mkv": Clip(320, 240, Fraction(30000, 1001), 4),
}


def frames(clip: Clip) -> Iterator[Frame]:
    """Yield the frames of a clip, uint8 RGB, shape (height, width, 3)."""
    width, height = round(clip.width * 1.3), round(clip.height * 1.3)
    photos = [photo for photo in photographs() if photo.std() > 40]
    for number in range(round(clip.seconds * clip.rate)):
        time = float(number / clip.rate)
        photo = photos[int(time / SHOT_S) % len(photos)]
        scale = max(width / photo.shape[1], height / photo.shape[0])
        photo = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
        left = round((photo.shape[1] - clip.width) * (0.5 + 0.5 * math.sin(time)))
        top = round((photo.shape[0] - clip.height) * (0.5 + 0.5 * math.cos(time)))
        yield photo[top : top + clip.height, left : left + clip.width]


def write(path: Path, clip: Clip) -> None:
    """Encode a clip."""
    unfinished = path.with_name(f".{path.name}")
    with av.open(str(unfinished), "w", format="matroska" if path.suffix == ".mkv" else "mp4") as container:
        stream = container.add_stream("libx264", rate=clip.rate, options={"preset": "veryfast", "g": "50"})
        stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, "yuv420p"
        for frame in frames(clip):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")))
        container.mux(stream.encode())
    os.replace(unfinished, path)  # noqa: PTH105 - in one step


def main(directory: Path) -> None:
    """Write the clips into `directory`, made if it is missing."""
    directory.mkdir(parents=True, exist_ok=True)
    missing = [name for name in CLIPS if not (directory / name).exists()]
    for name in missing:
        write(directory / name, CLIPS[name])
    done = f"made {len(missing)} sample videos in" if missing else f"{len(CLIPS)} sample videos are in"
    print(f"{done} {directory}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
