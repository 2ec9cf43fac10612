"""What an engine is given and what it gives: batches of one size, normalised, and one row an item."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import ModelError
from resnet_pipe.infer.engine import EngineRequest, one_line
from resnet_pipe.preprocess.network_input import NetworkInput, Pixels

T = TypeVar("T", bound=np.generic)
Forward = Callable[[Pixels], Mapping[str, NDArray[np.generic]]]
"""Executes a network on a batch; returns its outputs by name."""


def padded(batch: Pixels, size: int) -> Pixels:
    """Return a contiguous batch of at least `size` images: the one given, or a copy with black ones added."""
    if len(batch) >= size:
        return np.ascontiguousarray(batch)
    whole: Pixels = np.zeros((size, *batch.shape[1:]), batch.dtype)
    whole[: len(batch)] = batch
    return whole


def check_sizes(
    request: EngineRequest,
    forward: Forward,
    errors: type[Exception] | tuple[type[Exception], ...],
    first: Mapping[str, tuple[int, ...]],
) -> None:
    """Execute a network that is to take any size on a batch of another size than `first` had.

    If `forward` cannot execute it, its library raises one of `errors`; `first` are the shapes of the outputs.

    Raises:
        ModelError: it cannot be executed, or a row of an output has another width then.
    """
    other = request.preprocessing.other
    if other is None:
        return
    remedy = "export it with a dynamic height and width, or use another infer.engine"
    height, width = other
    found = f"{request.model} cannot be given images of many sizes: with {width} x {height}"
    try:
        outputs = forward(black(request, request.batch_size, other))
    except errors as error:
        raise ModelError(f"{found}: {one_line(error)}", remedy) from None
    for name in request.outputs if request.rows else ():
        shape, before = outputs[name].shape, first[name]
        if math.prod(shape[1:]) != math.prod(before[1:]):
            text = f"output {name!r} has shape {tuple(shape)}, and with the largest size {tuple(before)}"
            raise ModelError(f"{found}, {text}", "choose other writer.fields, or write another fit")


def black(request: EngineRequest, count: int, size: tuple[int, int] | None = None) -> Pixels:
    """Return a batch of black images, shape (count, H, W, 3), of a size; without one, of the largest."""
    taken = request.preprocessing
    if taken.shape is not None:
        return np.zeros((count, *taken.shape), np.float32)
    return np.zeros((count, *(size or taken.size), 3), np.float32 if taken.floats else np.uint8)


def singly(forward: Callable[[Pixels], Mapping[str, NDArray[T]]], batch: Pixels) -> dict[str, NDArray[T]]:
    """Execute a network on the items of a batch one by one; return all outputs, as `forward` does.

    For items of many sizes, in an engine that gives other bits for another batch size: how many come together
    depends on which sizes the neighbours have.
    """
    parts = [forward(batch[place : place + 1]) for place in range(len(batch))]
    if len(parts) == 1:
        return dict(parts[0])  # these are large
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


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


def filler(request: EngineRequest) -> Callable[[Pixels, int], NDArray[np.float32]]:
    """Return how an engine without a way of its own makes the network's input of a batch; one thread's own.

    It is given the batch, and how many items the input is to have at least.
    """
    if request.preprocessing.shape is not None:
        return padded
    return Normalizer(request.preprocessing, request.batch_size).fill


class Normalizer:
    """Normalises batches on the CPU, for engines without a way of their own.

    It computes (value / 255 - mean) / std for each channel, in float32, in torchvision's order. A channel of
    uint8 has 256 values, so each one is computed once and looked up: bit for bit what torchvision gives, at
    the cost of a copy. The output array is allocated once; where items have many sizes, it has room for the
    largest.

    Attributes:
        output: float32, shape (batch_size, 3, H, W): the network's input after fill().
    """

    def __init__(self, preprocessing: NetworkInput, batch_size: int) -> None:
        levels = np.arange(256, dtype=np.float32) / np.float32(255)
        order = (0, 1, 2) if preprocessing.color == "rgb" else (2, 1, 0)
        self._tables = [
            (channel, (levels - np.float32(mean)) / np.float32(std))
            for channel, mean, std in zip(order, preprocessing.mean, preprocessing.std, strict=True)
        ]
        self._constants = [*zip(order, preprocessing.mean, preprocessing.std, strict=True)]
        self._varies = preprocessing.other is not None
        self.output = np.zeros((batch_size, 3, *preprocessing.size), np.float32)
        self._room = self.output.reshape(-1)

    def fill(self, batch: Pixels, count: int = 0) -> NDArray[np.float32]:
        """Normalise a batch, (n, H, W, 3), RGB, into the first rows of `output`.

        Returns a view of it, float32, (max(n, count), 3, H, W): rows beyond the batch stay as they were, or
        mean nothing where items have many sizes.
        """
        import cv2

        if self._varies:
            shape = len(self.output), 3, *batch.shape[1:3]
            self.output = self._room[: math.prod(shape)].reshape(shape)
        if batch.dtype == np.float32:
            for image, planes in zip(batch, self.output, strict=False):
                for plane, (channel, mean, std) in zip(planes, self._constants, strict=True):
                    np.divide(image[..., channel], np.float32(255), out=plane)
                    plane -= np.float32(mean)
                    plane /= np.float32(std)
            return self.output[: max(count, len(batch))]
        for image, planes in zip(batch, self.output, strict=False):
            channels = cv2.split(image)
            for plane, (channel, table) in zip(planes, self._tables, strict=True):
                cv2.LUT(channels[channel], table, dst=plane)
        return self.output[: max(count, len(batch))]
