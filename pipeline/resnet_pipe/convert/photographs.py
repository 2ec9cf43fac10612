"""Real photographs for calibration and comparison: those that come with scikit-image."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from resnet_pipe.errors import MissingExtraError
from resnet_pipe.preprocess.geometry import Geometry
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


def photographs(preprocessing: Preprocessing) -> Pixels:
    """Return ten photographs of the size of a network's input: shape (10, H, W, 3), RGB.

    Of a network that takes any size, they all have one that images may have.
    """
    try:
        import skimage
    except ImportError:
        raise MissingExtraError("scikit-image", "convert", "Converting a model") from None
    from PIL import Image

    geometry, floats = preprocessing.geometry(), preprocessing.network_input.floats
    if geometry.other is not None:
        geometry = Geometry(None, geometry.other, fit="squash")
    batch = np.empty((len(NAMES), *geometry.size, 3), np.uint8)
    for name, out in zip(NAMES, batch, strict=True):
        with Image.open(Path(skimage.__file__).parent / "data" / name) as image:
            geometry.apply(np.asarray(image.convert("RGB")), out)
    return batch.astype(np.float32) if floats else batch
