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


ANY_SIZE = (256, 320)
"""Height and width of photographs for a network that takes any: multiples of 32, and small."""


def photographs(preprocessing: Preprocessing) -> Pixels:
    """Return ten photographs of the size of a network's input, or of `ANY_SIZE` if it takes many.

    They are uint8, shape (10, H, W, 3), RGB.
    """
    try:
        import skimage
    except ImportError:
        raise MissingExtraError("scikit-image", "convert", "Converting a model") from None
    from PIL import Image

    geometry = preprocessing.at_one_size(ANY_SIZE).geometry()
    batch = np.empty((len(NAMES), *geometry.size, 3), np.uint8)
    for name, out in zip(NAMES, batch, strict=True):
        with Image.open(Path(skimage.__file__).parent / "data" / name) as image:
            geometry.apply(np.asarray(image.convert("RGB")), out)
    return batch
