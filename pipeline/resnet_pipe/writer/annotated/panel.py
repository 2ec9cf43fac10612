"""The panel that is drawn on frames: scores, and labels as a font can draw them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_LINES = 27
"""So many lines of text are as high as a frame; or, if it is tall, as one of 16:9 that is as wide."""
_LEAST_TEXT = 11
"""The smallest text that can be read, pixels."""
_WIDTH = 17
"""Of the panel, in heights of its text."""
_MOST_NAMES = 256
"""So many drawn labels are kept for the next time."""

_BAND = (10, 12, 16, 170)
_TRACK = (70, 74, 82, 200)
"""Red, green, blue and opacity."""
_BARS = ((58, 150, 255, 255), (150, 165, 185, 255))
_TEXTS = ((255, 255, 255, 255), (218, 223, 230, 255))
"""For the best class, and for the others."""

_ELLIPSIS = "..."
_NO_CHARACTER = "\U0010ffff"
"""Never assigned: a font draws for it what it draws for all that it does not have, mostly a box."""


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
        height, length = 2 * pad + self._line * len(entries), max(0, width - 2 * pad)
        sheet = Image.new("RGBA", (width, height), (*_BAND[:3], 0))
        canvas = ImageDraw.Draw(sheet)
        canvas.rounded_rectangle((0, 0, width - 1, height - 1), pad, _BAND)
        for rank, (index, per_mille) in enumerate(entries):
            top = pad + rank * self._line
            bar = top + self._line - 2 * thickness
            part = min(max(per_mille, 0), 1000) / 1000
            for pixels, colour in (length, _TRACK), (round(length * part), _BARS[rank > 0]):
                if pixels:
                    canvas.rectangle((pad, bar, pad + pixels - 1, bar + thickness - 1), colour)
            share = self._text(f"{per_mille / 10:.1f}%")
            for left, text in (pad, self._name(index)), (width - pad - share.width, share):
                sheet.paste(_TEXTS[rank > 0], (left, top), text)
        drawn = np.asarray(sheet)[: self._room]
        opacity = np.repeat(drawn[..., 3:], 3, axis=2)
        return 255 - opacity, np.multiply(drawn[..., :3], opacity, dtype=np.uint16) + np.uint16(128)

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


class Lettering:
    """A font at one size in pixels; without a file Pillow's own, which has the letters of ASCII."""

    def __init__(self, font: Path | None, size: int) -> None:
        self.font = load(font, size)
        self._missing = self._picture(_NO_CHARACTER)
        self._has: dict[str, bool] = {}

    def label(self, label: str, index: int) -> str:
        """Return the label of a class on one line.

        Accents that the font lacks are left out. Characters that it lacks altogether stay, as boxes, but the
        index of the class comes before them: it is all that can be read.
        """
        text = "".join(" " if char.isspace() else char for char in unicodedata.normalize("NFC", label))
        shown = " ".join("".join(char for char in text if unicodedata.category(char)[0] != "C").split())
        shown = "".join(char if self._draws(char) else _plain(char) for char in shown)
        if not shown:
            return f"class {index}"
        return shown if all(map(self._draws, shown)) else f"{index}: {shown}"

    def fit(self, text: str, width: int) -> str:
        """Return the text, or the start of it with three dots, at most `width` pixels wide."""
        if self.font.getlength(text) <= width:
            return text
        low, high = 0, len(text)  # characters: the first fits, the second does not
        while low + 1 < high:
            middle = (low + high) // 2
            fits = self.font.getlength(text[:middle].rstrip() + _ELLIPSIS) <= width
            low, high = (middle, high) if fits else (low, middle)
        return text[:low].rstrip() + _ELLIPSIS

    def _draws(self, char: str) -> bool:
        if char not in self._has:
            self._has[char] = char == " " or self._picture(char) != self._missing
        return self._has[char]

    def _picture(self, char: str) -> tuple[tuple[int, int], bytes]:
        mask = self.font.getmask(char)
        return mask.size, bytes(mask)


def load(font: Path | None, size: int) -> ImageFont.FreeTypeFont:
    """Load a font, None for Pillow's own, at a size in pixels; OSError if there is none in the file."""
    if font is not None:
        with font.open("rb") as file:  # Pillow takes no name that is not UTF-8
            return ImageFont.truetype(file, size)
    own = ImageFont.load_default(size)
    if not isinstance(own, ImageFont.FreeTypeFont):
        raise OSError("this build of Pillow cannot draw text: it lacks FreeType")
    return own


def _plain(char: str) -> str:
    """Return a character without its accents; nothing for an accent alone."""
    return "".join(part for part in unicodedata.normalize("NFKD", char) if unicodedata.category(part) != "Mn")
