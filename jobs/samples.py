"""Make sample images for the example jobs and the benchmarks: crops of real photographs.

usage: python jobs/samples.py DIRECTORY [COUNT]

The photographs come with scikit-image. Each sample is a random crop of one of them, brought to about
ImageNet's median geometry (500x375 pixels, JPEG quality 90); the same COUNT always gives the same files.
Files that are there already are left alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Photograph = NDArray[np.uint8]

SHORT_SIDE, LONG_SIDE = 375, 500


def photographs() -> list[Photograph]:
    """Return scikit-image's bundled photographs of at least 300 pixels, uint8 RGB, shape (H, W, 3)."""
    import skimage

    files = sorted((Path(skimage.__file__).parent / "data").glob("*.[jp][pn]g"))
    images = (np.asarray(Image.open(file).convert("RGB")) for file in files)
    return [image for image in images if min(image.shape[:2]) >= 300]


def sample(photos: list[Photograph], rng: np.random.Generator) -> Photograph:
    """Return one sample: half to all of a photograph, perhaps mirrored, four in five of them landscape."""
    photo = photos[rng.integers(len(photos))]
    height, width = (int(side * rng.uniform(0.5, 1.0)) for side in photo.shape[:2])
    top, left = rng.integers(photo.shape[0] - height + 1), rng.integers(photo.shape[1] - width + 1)
    crop = photo[top : top + height, left : left + width]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    size = (LONG_SIDE, SHORT_SIDE) if rng.random() < 0.8 else (SHORT_SIDE, LONG_SIDE)
    return cv2.resize(np.ascontiguousarray(crop), size, interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def main(directory: Path, count: int) -> None:
    """Write `count` samples into `directory`, made if it is missing."""
    directory.mkdir(parents=True, exist_ok=True)
    files = [directory / f"image_{number:06d}.jpg" for number in range(count)]
    if all(file.exists() for file in files):
        print(f"{count} sample images are in {directory}")
        return
    photos, rng = photographs(), np.random.default_rng(7)
    for file in files:
        Image.fromarray(sample(photos, rng)).save(file, quality=90)
    print(f"made {count} sample images from {len(photos)} photographs in {directory}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 48)
