"""What reading and preparing a JPEG costs a processor: exact and fast, small and large, and a script's way.

usage: python -m benchmarks.preparing [--repeats 9]

JPEGs of 500x375 and of 4000x3000 pixels in memory, to 256 and a crop of 224, in one process. The script uses
Pillow and torchvision, without `draft` and with it, which decodes to a fraction of the size. `decoded` is
decoding alone, and `coded` what remains of it at an eighth and in grey: hardly anything but coded data, all
of which any decoder reads, however little of the image is kept. What counts is processor time, so that other
programs matter little.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from benchmarks import measure
from jobs.samples import main as make_samples
from jobs.samples import photographs
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms

from resnet_pipe.machine.memory import keep_freed_memory
from resnet_pipe.preprocess.geometry import Geometry
from resnet_pipe.reader.images.decode import decode

RESIZE, CROP = 256, 224
LARGE = 4000, 3000
GRAIN = 9.0
"""Deviation of the noise in large images, grey levels: an enlarged photograph has none. With it, a file has
3.5 MB, as from a camera."""
SMALL_IMAGES, LARGE_IMAGES = 60, 6


def small_images() -> list[bytes]:
    """Return the sample images, 500x375 pixels."""
    with tempfile.TemporaryDirectory() as directory:
        make_samples(Path(directory), SMALL_IMAGES)
        return [file.read_bytes() for file in sorted(Path(directory).iterdir())]


def large_images() -> list[bytes]:
    """Return photographs enlarged to 12 megapixels, with grain."""
    rng, images = np.random.default_rng(7), []
    for photo in photographs()[:LARGE_IMAGES]:
        image = cv2.resize(np.ascontiguousarray(photo), LARGE, interpolation=cv2.INTER_CUBIC)
        grainy = image + rng.normal(0, GRAIN, (*reversed(LARGE), 3))
        written = io.BytesIO()
        Image.fromarray(np.clip(grainy, 0, 255).astype(np.uint8)).save(written, "JPEG", quality=90)
        images.append(written.getvalue())
    return images


def ours(geometry: Geometry, out: NDArray[np.uint8], data: bytes) -> None:
    """Decode and prepare an image as a worker does."""
    item = decode(data, 1 << 30, False, geometry.min_side)
    geometry.apply(item.frame, out, item.extent)


def script(prepare: Callable[[Image.Image], Image.Image], draft: bool, data: bytes) -> None:
    """Decode and prepare an image as a script does."""
    with Image.open(io.BytesIO(data)) as image:
        if draft:
            image.draft("RGB", (RESIZE, RESIZE))
        np.asarray(prepare(image.convert("RGB")))


def timed(one: Callable[[bytes], object], images: list[bytes]) -> measure.Measurement:
    """Do something with each image; the rate is that of a processor which does nothing else."""
    started = time.process_time()
    for data in images:
        one(data)
    return measure.Measurement(len(images) / (time.process_time() - started))


def main() -> None:
    """Measure, print and save."""
    arguments = measure.parser(__doc__, repeats=9).parse_args()
    keep_freed_memory()
    cv2.setNumThreads(1)
    out = np.empty((CROP, CROP, 3), np.uint8)
    plain = transforms.Compose([transforms.Resize(RESIZE), transforms.CenterCrop(CROP)])
    ways: dict[str, Callable[[bytes], object]] = {
        "exact": partial(ours, Geometry(RESIZE, CROP), out),
        "script": partial(script, plain, False),
        "fast": partial(ours, Geometry(RESIZE, CROP, mode="fast"), out),
        "script, draft": partial(script, plain, True),
        "decoded": partial(simplejpeg.decode_jpeg, colorspace="RGB"),
        "coded": partial(simplejpeg.decode_jpeg, colorspace="GRAY", min_height=1, min_width=1),
    }
    folders = {"500x375": small_images(), "4000x3000": large_images()}
    measure.compare(
        "preparing",
        {
            f"{size} {way}": partial(timed, one, images)
            for size, images in folders.items()
            for way, one in ways.items()
        },
        arguments.repeats,
        megabytes={size: sum(map(len, images)) / len(images) / 1e6 for size, images in folders.items()},
    )


if __name__ == "__main__":
    main()
