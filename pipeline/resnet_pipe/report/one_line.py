"""Texts from elsewhere on one line: nothing in them is obeyed, and they take no more room than there is."""

from __future__ import annotations

import unicodedata

_DOTS = "..."
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories of characters that move the cursor, turn the direction round or are not text."""


def on_one_line(text: str) -> str:
    r"""Return a text in which what is not seen, or begins a line, is written `\xNN` or `\uNNNN`."""
    return "".join(_escape(each) if unicodedata.category(each) in _UNSEEN else each for each in text)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8 (PEP 383)
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def width_of(text: str) -> int:
    """Return how many columns a text takes in a terminal."""
    return sum(map(_width, text))


def _width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def elided(text: str, width: int) -> str:
    """Return a text that takes at most `width` columns, at least 4: if it is longer, without its middle."""
    if width_of(text) <= width:
        return text
    head = fitting(text, (width - len(_DOTS) + 1) // 2)
    tail = fitting(text[::-1], width - len(_DOTS) - width_of(head))[::-1]
    return head + _DOTS + tail


def fitting(text: str, width: int) -> str:
    """Return as much of the beginning of a text as takes `width` columns."""
    taken = 0
    for index, character in enumerate(text):
        taken += _width(character)
        if taken > width:
            return text[:index]
    return text
