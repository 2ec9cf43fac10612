"""Labels as they can be drawn: with a font's letters only, without control characters, not too wide."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from PIL import ImageFont

_ELLIPSIS = "..."
_NO_CHARACTER = "\U0010ffff"
"""Never assigned: a font draws for it what it draws for all that it does not have, mostly a box."""


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
