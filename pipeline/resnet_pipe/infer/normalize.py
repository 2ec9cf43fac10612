"""uint8 RGB batches to the network's normalised float32 input, for engines without a way of their own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.preprocess.network_input import NetworkInput


class Normalizer:
    """Computes (value / 255 - mean) / std for each channel, in float32, in torchvision's order.

    A channel has 256 values, so each one is computed once and looked up: bit for bit what torchvision
    gives, at the cost of a copy. The output array is allocated once.
    """

    def __init__(self, preprocessing: NetworkInput, batch_size: int) -> None:
        levels = np.arange(256, dtype=np.float32) / np.float32(255)
        order = (0, 1, 2) if preprocessing.color == "rgb" else (2, 1, 0)
        self._tables = [
            (channel, (levels - np.float32(mean)) / np.float32(std))
            for channel, mean, std in zip(order, preprocessing.mean, preprocessing.std, strict=True)
        ]
        self.output = np.zeros((batch_size, 3, *preprocessing.size), np.float32)
        """float32, shape (batch_size, 3, H, W): the network's input after fill()."""

    def fill(self, batch: NDArray[np.uint8], count: int = 0) -> NDArray[np.float32]:
        """Normalise a batch, uint8, (n, H, W, 3), RGB, into the first rows of `output`.

        Returns a view of it, float32, (max(n, count), 3, H, W): rows beyond the batch stay as they were.
        """
        import cv2

        for image, planes in zip(batch, self.output, strict=False):
            channels = cv2.split(image)
            for plane, (channel, table) in zip(planes, self._tables, strict=True):
                cv2.LUT(channels[channel], table, dst=plane)
        return self.output[: max(count, len(batch))]
