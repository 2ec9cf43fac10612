"""What an engine is given and what it gives: batches of one size, normalised, and one row an item."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import ModelError
from resnet_pipe.infer.engine import EngineRequest
from resnet_pipe.preprocess.network_input import NetworkInput


def padded(batch: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return a contiguous batch of at least `size` images: the one given, or a copy with black ones added."""
    if len(batch) >= size:
        return np.ascontiguousarray(batch)
    whole = np.zeros((size, *batch.shape[1:]), np.uint8)
    whole[: len(batch)] = batch
    return whole


def takes_any_size(
    request: EngineRequest,
    forward: Callable[[NDArray[np.uint8]], Mapping[str, NDArray[np.generic]]],
    errors: type[Exception] | tuple[type[Exception], ...],
) -> bool:
    """Tell whether a network can be given a short batch as it is: a file may be made for one size only.

    `forward` executes the network on a batch; if that cannot be, its library raises one of `errors`.
    """
    try:
        outputs = forward(black(request, 1))
    except errors:
        return False
    return all(len(outputs[name]) == 1 for name in request.outputs if name in outputs)


def black(request: EngineRequest, count: int) -> NDArray[np.uint8]:
    """Return a batch of black images, uint8, shape (count, H, W, 3)."""
    return np.zeros((count, *request.preprocessing.size, 3), np.uint8)


def rows_of(request: EngineRequest, values: NDArray[np.generic], count: int) -> NDArray[np.float32]:
    """Return a copy of the first rows of an output, float32, shape (count, width), or (count, ...) as it is.

    The values are of any type of number, shape (at least count, ...); of rows of numbers, axes of length 1
    are left out.
    """
    first = np.array(values[:count], np.float32)
    return first.reshape(count, -1) if request.rows else first


def check_batch_size(request: EngineRequest, size: object) -> None:
    """Refuse, with a `ModelError`, a network made for another batch size; what is no number is any size."""
    if isinstance(size, int) and size != request.batch_size:
        raise ModelError(
            f"{request.model} takes exactly {size} images at a time, not {request.batch_size}",
            f"infer.batch_size: {size}, or export it with a dynamic batch size",
        )


def check_outputs(request: EngineRequest, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse a network that does not give one row per item: `shapes` are of its outputs for a whole batch.

    Raises:
        ModelError: an output is missing, is not one row of numbers per image, or has another width.
    """
    for name in request.outputs:
        if name not in shapes:
            raise ModelError(f"{request.model} has no output {name!r}; its outputs: {', '.join(shapes)}")
    for name, wanted in itertools.zip_longest(request.outputs, request.widths):
        shape, width = shapes[name], math.prod(shapes[name][1:])
        found = f"{request.model}: output {name!r} has shape {shape} for {request.batch_size} images"
        if shape[:1] != (request.batch_size,):
            raise ModelError(found, "export it with a dynamic batch size, or use infer.batch_size: 1")
        if request.rows and sum(length != 1 for length in shape[1:]) > 1:
            raise ModelError(
                f"{found}, which is not one row of numbers per image",
                "choose other writer.fields, or export it with a pooled output",
            )
        if wanted not in (width, None):
            raise ModelError(
                f"{request.model}: output {name!r} has {width} values per image; the file says {wanted}",
                "export it again with the correct shape, or without one",
            )


class Normalizer:
    """Normalises batches on the CPU, for engines without a way of their own.

    It computes (value / 255 - mean) / std for each channel, in float32, in torchvision's order. A channel has
    256 values, so each one is computed once and looked up: bit for bit what torchvision gives, at the cost of
    a copy. The output array is allocated once.
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
