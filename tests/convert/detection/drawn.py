"""Pictures of circles, squares and triangles on textured backgrounds, drawn from a seed, for the tests."""

from __future__ import annotations

from math import cos, pi, sin
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SHAPES = ("circle", "square", "triangle")
SIDE, LONG = 64, 80
"""Pixels of the shorter side of a picture, and of the longest there is, before it is enlarged."""
SIZES = ((SIDE, SIDE), (LONG, SIDE), (SIDE, LONG))
"""Width and height of pictures."""
_SMALLEST, _LARGEST = 22, 44
_FINE = 3
"""Pictures are drawn this much larger, for smooth edges."""
_CONTRAST = 90
"""By which the colour of a shape differs from the background's, at least."""
_TURN = 0.3
"""Radians by which a shape is turned, at most."""
_ROOM = 4
"""Pixels that are free around each shape."""


class Drawn(NamedTuple):
    """A picture, and what is on it.

    Attributes:
        image: uint8 (height, width, 3), RGB.
        boxes: float32 (n, 4), corners in pixels.
        labels: int64 (n,), from 1 on, in the order of `SHAPES`.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]


def drawn(random: np.random.Generator, size: tuple[int, int], scale: float = 1.0, most: int = 3) -> Drawn:
    """Return a picture with shapes of random kind, colour, size, place and rotation.

    Args:
        random: says what is on it.
        size: width and height.
        scale: by which everything is enlarged in the end.
        most: there are one to so many shapes.
    """
    width, height = (round(side * scale) for side in size)
    ground = random.uniform(40, 215, 3)
    image = Image.fromarray(_texture(random, ground, size)).resize(
        (width * _FINE, height * _FINE), Image.Resampling.BICUBIC
    )
    pen = ImageDraw.Draw(image)
    boxes: list[tuple[float, ...]] = []
    labels: list[int] = []
    for _ in range(random.integers(1, most + 1)):
        kind = int(random.integers(len(SHAPES)))
        outline = _outline(SHAPES[kind], random) * random.uniform(_SMALLEST, _LARGEST)
        room = np.array(size) - np.ptp(outline, axis=0)
        outline += random.uniform(0, room) - outline.min(axis=0)
        box = (*outline.min(axis=0), *outline.max(axis=0))
        if any(_near(box, other) for other in boxes):
            continue
        pen.polygon([tuple(point) for point in outline * scale * _FINE], fill=_colour(random, ground))
        boxes.append(box)
        labels.append(kind + 1)
    small = image.resize((width, height), Image.Resampling.BOX)
    return Drawn(
        np.asarray(small), np.array(boxes, np.float32) * np.float32(scale), np.array(labels, np.int64)
    )


def held_out(count: int, scales: tuple[float, float] = (1.0, 4.0)) -> list[Drawn]:
    """Return pictures of all sizes that no training has seen, each enlarged by a factor between these."""
    random = np.random.default_rng(1_000_000)
    return [drawn(random, SIZES[number % len(SIZES)], random.uniform(*scales)) for number in range(count)]


def _outline(shape: str, random: np.random.Generator) -> NDArray[np.float64]:
    """Return the corners of a shape, rotated at random, whose longer side is 1."""
    corners, upright = {"circle": (60, 0.0), "square": (4, pi / 4), "triangle": (3, -pi / 2)}[shape]
    turn = upright + random.uniform(-_TURN, _TURN)
    angles = [turn + 2 * pi * corner / corners for corner in range(corners)]
    outline = np.array([(cos(angle), sin(angle)) for angle in angles])
    turned: NDArray[np.float64] = outline / np.ptp(outline, axis=0).max()
    return turned


def _texture(
    random: np.random.Generator, ground: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Return spots around a colour, with coarser ones below."""
    width, height = size
    fine = random.normal(0, 10, (height, width, 1))
    few = random.uniform(0, 255, (height // 12, width // 12, 3)).astype(np.uint8)
    coarse = np.asarray(Image.fromarray(few).resize(size, Image.Resampling.BICUBIC), np.float64)
    return (ground + fine + 0.25 * (coarse - 127)).clip(0, 255).astype(np.uint8)


def _colour(random: np.random.Generator, ground: NDArray[np.float64]) -> tuple[int, ...]:
    while True:
        colour = random.integers(0, 256, 3)
        if np.linalg.norm(colour - ground) > _CONTRAST:
            return tuple(int(value) for value in colour)


def _near(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return (
        min(one[2], other[2]) - max(one[0], other[0]) > -_ROOM
        and min(one[3], other[3]) - max(one[1], other[1]) > -_ROOM
    )
