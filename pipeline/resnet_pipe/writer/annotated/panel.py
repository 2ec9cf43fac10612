"""The panel with labels and scores that is drawn on frames."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from resnet_pipe.writer.annotated.lettering import Lettering

Colour = tuple[int, int, int]
"""RGB."""

_LINES = 27
"""So many lines of text are as high as a frame; or, if it is tall, as one of 16:9 that is as wide."""
_LEAST_TEXT = 11
"""The smallest text that can be read, pixels."""
_WIDTH = 17
"""Of the panel, in heights of its text."""
_MOST_NAMES = 256
"""So many drawn labels are kept for the next time."""

_BAND, _BAND_OPACITY = (10, 12, 16), 170
_TRACK, _TRACK_OPACITY = (70, 74, 82), 200
_BARS = ((58, 150, 255), (150, 165, 185))
_TEXTS = ((255, 255, 255), (218, 223, 230))
"""For the best class, and for the others."""


class Panel:
    """Draws labels, which are by class index, and scores on frames of one size in pixels."""

    def __init__(self, width: int, height: int, labels: Sequence[str], font: Path | None) -> None:
        text = max(_LEAST_TEXT, round(min(height, width * 9 / 16) / _LINES))
        self._lettering = Lettering(font, text)
        self._labels = labels
        self._names: dict[int, Image.Image] = {}
        """Opacity of the labels that have been drawn, by class index."""
        self._pad = text // 2
        self._line = round(1.8 * text)
        self._margin = min(text, min(width, height) // 20)
        self._width = min(width - 2 * self._margin, _WIDTH * text)
        self._room = height - 2 * self._margin
        self._entries: list[tuple[int, int]] = []

    def draw(self, frame: NDArray[np.uint8], index: NDArray[np.int32], score: NDArray[np.float32]) -> None:
        """Draw the labels of a frame on it, in place: uint8, shape (H, W, 3), RGB.

        Index has the classes, best first, shape (k,), and score what the bar of each shows, from 0 to 1.
        """
        # To the digits that are shown: most frames of a quiet scene look like the one before.
        entries = list(zip(index.tolist(), np.rint(score * 1000).astype(int).tolist(), strict=True))
        if entries != self._entries:
            self._keep, self._add = self._render(entries)
            self._entries = entries
        height, width, _ = self._keep.shape
        here = frame[self._margin : self._margin + height, self._margin : self._margin + width]
        blended = np.multiply(here, self._keep, dtype=np.uint16)
        blended += self._add
        blended += blended >> 8  # with the next shift, a division by 255 that rounds
        np.right_shift(blended, 8, out=here, casting="unsafe")

    def _render(self, entries: list[tuple[int, int]]) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """Draw the panel for classes and their scores in thousandths, best first.

        Return what the pixels of a frame are multiplied by, and what is then added to them, both times 255;
        shape (height, width, 3).
        """
        width, pad, thickness = self._width, self._pad, max(2, self._line // 12)
        sheet = _Sheet(width, 2 * pad + self._line * len(entries), pad)
        for rank, (index, per_mille) in enumerate(entries):
            top, shade = pad + rank * self._line, _TEXTS[rank > 0]
            bar = top + self._line - 2 * thickness
            length = max(0, width - 2 * pad)
            sheet.rectangle(pad, bar, length, thickness, _TRACK, _TRACK_OPACITY)
            part = min(max(per_mille, 0), 1000) / 1000
            sheet.rectangle(pad, bar, round(length * part), thickness, _BARS[rank > 0], 255)
            share = self._text(f"{per_mille / 10:.1f}%")
            sheet.paste(pad, top, self._name(index), shade)
            sheet.paste(width - pad - share.width, top, share, shade)
        return sheet.weights(self._room)

    def _name(self, index: int) -> Image.Image:
        if index not in self._names:
            if len(self._names) >= _MOST_NAMES:
                self._names.clear()
            room = self._width - 3 * self._pad - round(self._lettering.font.getlength("100.0%"))
            label = self._lettering.label(self._labels[index], index)
            self._names[index] = self._text(self._lettering.fit(label, room))
        return self._names[index]

    def _text(self, text: str) -> Image.Image:
        """Return the opacity of a text, as high as a line: what is higher is cut off."""
        image = Image.new("L", (max(1, ceil(self._lettering.font.getlength(text))), self._line))
        ImageDraw.Draw(image).text((0, 0.42 * self._line), text, 255, self._lettering.font, "lm")
        return image


class _Sheet:
    """A drawing, and how opaque it is: at first a band with round corners. All measures are pixels."""

    def __init__(self, width: int, height: int, radius: int) -> None:
        self._colour = Image.new("RGB", (width, height), _BAND)
        self._opacity = Image.new("L", (width, height))
        corners = (0, 0, width - 1, height - 1)
        ImageDraw.Draw(self._opacity).rounded_rectangle(corners, radius, _BAND_OPACITY)

    def rectangle(self, left: int, top: int, width: int, height: int, shade: Colour, opacity: int) -> None:
        """Fill a rectangle; without width, nothing."""
        if width:
            box = (left, top, left + width - 1, top + height - 1)
            ImageDraw.Draw(self._colour).rectangle(box, shade)
            ImageDraw.Draw(self._opacity).rectangle(box, opacity)

    def paste(self, left: int, top: int, mask: Image.Image, shade: Colour) -> None:
        """Fill where a mask is."""
        self._colour.paste(shade, (left, top), mask)
        self._opacity.paste(255, (left, top), mask)

    def weights(self, height: int) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """Return what a frame's pixels are to be multiplied by, and what to add, for rows up to `height`."""
        alpha = np.asarray(Image.merge("RGB", [self._opacity] * 3))[:height]
        add = np.multiply(np.asarray(self._colour)[:height], alpha, dtype=np.uint16)
        return 255 - alpha, add + np.uint16(128)
