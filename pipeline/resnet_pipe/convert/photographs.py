"""Real photographs for calibration and comparison: those that come with scikit-image."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from resnet_pipe.errors import MissingExtraError
from resnet_pipe.preprocess.network_input import Pixels
from resnet_pipe.preprocess.preprocessing import Preprocessing

NAMES = (
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "ihc.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "retina.jpg",
    "rocket.jpg",
)


def photographs(preprocessing: Preprocessing) -> list[Pixels]:
    """Return ten photographs as a network's input: shape (n, H, W, 3), RGB, an array for each size."""
    try:
        import skimage
    except ImportError:
        raise MissingExtraError("scikit-image", "convert", "Converting a model") from None
    from PIL import Image

    geometry = preprocessing.geometry()
    made: dict[tuple[int, int], list[Pixels]] = {}
    for name in NAMES:
        with Image.open(Path(skimage.__file__).parent / "data" / name) as image:
            size = geometry.size_of(*image.size)
            made.setdefault(size, []).append(
                np.empty((*size, 3), np.float32 if geometry.floats else np.uint8)
            )
            geometry.apply(np.asarray(image.convert("RGB")), made[size][-1])
    return [np.stack(images) for images in made.values()]
