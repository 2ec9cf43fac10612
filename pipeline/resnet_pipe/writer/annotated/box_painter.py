"""Boxes drawn on frames, each with its class and score: legible at any size, the best ones on top."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator, Sequence
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from resnet_pipe.writer.annotated.panel import Lettering
from resnet_pipe.writer.annotated.seen import Boxes

_LINES = 42
"""So many lines of text are as high as a frame; or, if it is tall, as one of 4:3 that is as wide."""
_LEAST_TEXT = 11
"""The smallest text that can be read, pixels."""
_STROKES = 6
"""The line of a box is this part as wide as text is high; a thinner dark line is around it."""
_CROWD = 24
"""With more boxes than this, text is smaller, down to half."""
_MOST_COVERED = 0.25
"""Of a picture, by labels, unless there is one alone."""
_MOST_TEXTS = 512
"""So many drawn labels are kept for the next time."""
_LUMINANCE = np.array([0.299, 0.587, 0.114])
_LEAST_LUMINANCE = 90
"""Darker colours, such as blue, are mixed with white: a thin line of them is hard to see."""
_DARK, _BRIGHT = (16, 16, 16), (255, 255, 255)

Area = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels; the last two are outside."""


class BoxPainter:
    """Draws boxes with their labels, which are by class index, on frames of one size in pixels."""

    def __init__(self, width: int, height: int, labels: Sequence[str], font: Path | None) -> None:
        self._width, self._height = width, height
        self._labels = labels
        self._font = font
        self._size = min(height, width * 3 / 4) / _LINES
        self._stroke = max(1, round(self._size / _STROKES))
        self._lettering: dict[int, Lettering] = {}
        self._texts: dict[tuple[int, str], NDArray[np.uint8]] = {}
        """Opacity of the labels that have been drawn, by size and text."""

    def draw(self, frame: NDArray[np.uint8], boxes: Boxes) -> None:
        """Draw the boxes of one frame on it, in place: uint8, shape (H, W, 3), RGB.

        Each label is at its box, where no better box has its own; one that finds no room there is left out,
        and so are the last ones of a crowd of which a picture would be full.
        """
        areas = [self._area(corners) for corners in boxes.corners]
        colours = [colour_of(label) for label in boxes.index.tolist()]
        for area, colour in reversed(list(zip(areas, colours, strict=True))):
            _outline(frame, area, self._stroke, colour)
        texts = self._texts_of(boxes)
        spots = self.places(areas, [text.shape for text in texts])
        for spot, text, colour in zip(spots, texts, colours, strict=True):
            if spot is not None:
                _write(frame, spot, text, colour)

    def places(self, areas: Sequence[Area], sizes: Sequence[tuple[int, ...]]) -> list[Area | None]:
        """Return where the label of each box is, or None; sizes are heights and widths of the labels."""
        found: list[Area | None] = []
        taken = np.zeros((0, 4), np.int64)
        room = self._width * self._height * _MOST_COVERED
        for area, (height, width) in zip(areas, sizes, strict=True):
            fitting = min(width, self._width), min(height, self._height)
            spots = map(self._within, _places(area, *fitting, self._stroke))
            spot = next((spot for spot in spots if not _overlap(spot, taken)), None)
            room -= width * height if spot else 0
            if found and room < 0:
                spot = None
            found.append(spot)
            if spot:
                taken = np.concatenate([taken, [spot]])
        return found

    def _texts_of(self, boxes: Boxes) -> list[NDArray[np.uint8]]:
        crowding = max(0.5, min(1, (_CROWD / max(len(boxes.index), 1)) ** 0.5))
        size = max(_LEAST_TEXT, round(self._size * crowding))
        return [
            self._text(size, f"{self._label(size, label)} {score:.0%}")
            for label, score in zip(boxes.index.tolist(), boxes.score.tolist(), strict=True)
        ]

    def _area(self, corners: NDArray[np.float32]) -> Area:
        left, right = np.clip(corners[[0, 2]] * self._width, 0, self._width)
        top, bottom = np.clip(corners[[1, 3]] * self._height, 0, self._height)
        x, y = min(int(left), self._width - 1), min(int(top), self._height - 1)
        return x, y, max(ceil(right), x + 1), max(ceil(bottom), y + 1)

    def _within(self, place: Area) -> Area:
        """Return an area that is moved into the frame, which is as large at least."""
        left, top, right, bottom = place
        x = min(max(left, 0), self._width - (right - left))
        y = min(max(top, 0), self._height - (bottom - top))
        return x, y, x + right - left, y + bottom - top

    def _letters(self, size: int) -> Lettering:
        if size not in self._lettering:
            self._lettering[size] = Lettering(self._font, size)
        return self._lettering[size]

    def _label(self, size: int, label: int) -> str:
        letters = self._letters(size)
        room = max(self._width // 2, 8 * size) - round(letters.font.getlength(" 100%"))
        return letters.fit(letters.label(self._labels[label], label), room)

    def _text(self, size: int, text: str) -> NDArray[np.uint8]:
        """Return the opacity of a text with room around it, shape (height, width)."""
        if (size, text) not in self._texts:
            if len(self._texts) >= _MOST_TEXTS:
                self._texts.clear()
            font, pad = self._letters(size).font, max(2, size // 4)
            image = Image.new("L", (ceil(font.getlength(text)) + 2 * pad, round(1.35 * size)))
            ImageDraw.Draw(image).text((pad, 0.5 * image.height), text, 255, font, "lm")
            self._texts[size, text] = np.asarray(image)
        return self._texts[size, text]


def colour_of(label: int) -> tuple[int, int, int]:
    """Return the colour of a class: neighbours in the list of classes differ much in hue."""
    hue = (0.58 + label * 0.6180339887) % 1  # the golden ratio: hues that come next lie far from all before
    saturation, value = ((0.85, 1.0), (0.95, 0.75), (0.55, 1.0))[label // 8 % 3]
    colour = 255 * np.array(colorsys.hsv_to_rgb(hue, saturation, value))
    white = max(0.0, (_LEAST_LUMINANCE - _LUMINANCE @ colour) / (255 - _LUMINANCE @ colour))
    red, green, blue = np.rint(colour + white * (255 - colour)).astype(int).tolist()
    return red, green, blue


def _places(area: Area, width: int, height: int, stroke: int) -> Iterator[Area]:
    """Yield where the label of a box may be: above it, in it, below it; at its left, and at its right."""
    left, top, right, bottom = area
    above, in_it, below, low = top - height, top + stroke, bottom, bottom - stroke - height
    for y, inset in (above, 0), (in_it, stroke), (below, 0), (low, stroke):
        for x in (left + inset, right - inset - width):
            yield x, y, x + width, y + height


def _overlap(spot: Area, taken: NDArray[np.int64]) -> bool:
    left, top, right, bottom = spot
    beside = (taken[:, 0] >= right) | (taken[:, 2] <= left) | (taken[:, 1] >= bottom) | (taken[:, 3] <= top)
    return not beside.all()


def _outline(frame: NDArray[np.uint8], area: Area, stroke: int, colour: tuple[int, int, int]) -> None:
    """Draw the line of a box, inside it, and a dark one around it, which shows it on any background."""
    rim = max(1, stroke // 3)
    left, top, right, bottom = area
    _frame(frame, (left - rim, top - rim, right + rim, bottom + rim), rim, _DARK)
    _frame(frame, area, stroke, colour)


def _frame(frame: NDArray[np.uint8], area: Area, stroke: int, colour: tuple[int, int, int]) -> None:
    left, top, right, bottom = area
    height, width, _ = frame.shape
    x, y = slice(max(left, 0), min(right, width)), slice(max(top, 0), min(bottom, height))
    for start in (top, max(bottom - stroke, top)):
        frame[max(start, 0) : max(min(start + stroke, bottom, height), 0), x] = colour
    for start in (left, max(right - stroke, left)):
        frame[y, max(start, 0) : max(min(start + stroke, right, width), 0)] = colour


def _write(
    frame: NDArray[np.uint8], spot: Area, text: NDArray[np.uint8], colour: tuple[int, int, int]
) -> None:
    """Write a text, given its opacity, on a ground of a colour; what does not fit is cut off."""
    left, top, right, bottom = spot
    ink = np.array(_DARK if _LUMINANCE @ colour > 140 else _BRIGHT)
    opacity = text[: bottom - top, : right - left, None] / 255
    frame[top:bottom, left:right] = np.rint(colour * (1 - opacity) + ink * opacity)
