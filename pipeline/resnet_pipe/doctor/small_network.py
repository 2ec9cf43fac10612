"""A small residual network with random weights, and images for it: what the engines are tried with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.preprocess.preprocessing import Preprocessing

_FOLDER = Path(__file__).parent / "networks"
NETWORKS = {
    None: _FOLDER / "fp32.onnx",
    7: _FOLDER / "int8_of_7_bits.onnx",
    8: _FOLDER / "int8_of_8_bits.onnx",
}
"""By the bits of the weights: in float, or in int8 (QDQ). tests/doctor/networks.py has made them.

With 8 bits, sums of products exceed 16 bits: where they saturate, the cosine similarity falls to 0.975.
"""
CROP = 64
BATCH = 8
OUTPUTS = ("features", "logits")
PREPROCESSING = Preprocessing(resize=CROP, crop=CROP, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])


def images() -> NDArray[np.uint8]:
    """Return stripes of different widths, directions and colours: uint8, shape (BATCH, CROP, CROP, 3), RGB.

    The cosine similarity of what the network gives for two of them is below 0.99, so that mistaking one for
    another is seen in every precision.
    """
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:CROP, :CROP]
    stripes = []
    for number in range(BATCH):
        angle, period = np.pi * number / BATCH, 4 * 2 ** (number % 3)
        wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period)
        middle, height = rng.uniform(0, 255, 3), rng.uniform(-127, 127, 3)
        stripes.append(middle + height * wave[:, :, np.newaxis])
    batch: NDArray[np.uint8] = np.stack(stripes).clip(0, 255).astype(np.uint8)
    return batch
