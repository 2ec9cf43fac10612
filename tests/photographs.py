"""Real photographs for the tests: those that lie inside scikit-image's package, so nothing is downloaded."""

from __future__ import annotations

import io
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

NAMES = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg", "retina.jpg")
"""Photographs in colour, of 451 x 300 to 1411 x 1411 pixels; landscapes and squares."""


def path(name: str) -> Path:
    """Return the file of a photograph."""
    spec = find_spec("skimage")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "data" / name


@cache
def photograph(name: str = "chelsea.png") -> Image.Image:
    """Return a photograph, mode RGB, without metadata. Do not change it."""
    with Image.open(path(name)) as image:
        return Image.fromarray(pixels(image))


def pixels(image: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels of an image as everyone does: upright is as stored, alpha is dropped."""
    return np.asarray(image.convert("RGB"))


def encode(image: Image.Image, format_: str, **options: object) -> bytes:
    """Return the bytes of an image file."""
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()
