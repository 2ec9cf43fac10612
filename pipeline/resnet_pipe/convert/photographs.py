"""Real photographs for calibration and comparison: those that come with scikit-image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import MissingExtraError
from resnet_pipe.infer.batches import Normalizer
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


def photographs(preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Return ten photographs as a network's input: float32, shape (10, 3, H, W), normalised."""
    try:
        import skimage
    except ImportError:
        raise MissingExtraError("scikit-image", "convert", "Converting a model") from None
    from PIL import Image

    geometry = preprocessing.geometry()
    batch = np.empty((len(NAMES), *geometry.size, 3), np.uint8)
    for name, out in zip(NAMES, batch, strict=True):
        with Image.open(Path(skimage.__file__).parent / "data" / name) as image:
            geometry.apply(np.asarray(image.convert("RGB")), out)
    return Normalizer(preprocessing.network_input, len(NAMES)).fill(batch)
