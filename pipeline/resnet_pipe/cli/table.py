"""A table for a terminal: columns as wide as what is in them, and names from elsewhere on one line."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

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
    head = _fitting(text, (width - len(_DOTS) + 1) // 2)
    tail = _fitting(text[::-1], width - len(_DOTS) - width_of(head))[::-1]
    return head + _DOTS + tail


def _fitting(text: str, width: int) -> str:
    """Return as much of the beginning of a text as takes `width` columns."""
    taken = 0
    for index, character in enumerate(text):
        taken += _width(character)
        if taken > width:
            return text[:index]
    return text


def padded(text: str, width: int, right: bool = False) -> str:
    """Return a text with spaces behind it, or before it to stand on the right."""
    spaces = " " * (width - width_of(text))
    return spaces + text if right else text + spaces


def wrapped(text: str, width: int, indent: str) -> list[str]:
    """Return a text as lines that take at most `width` columns, each with the indent, cut between words."""
    lines, most = [""], width - len(indent)
    for word in re.findall(r"\S+", text):
        rest = word
        if lines[-1] and width_of(lines[-1]) + 1 + width_of(rest) <= most:
            lines[-1] += f" {rest}"
            continue
        while rest:
            lines.append(_fitting(rest, most))
            rest = rest[len(lines[-1]) :]
    return [indent + line for line in lines if line]


def widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Return how wide each column is: as its widest cell."""
    return [max(map(width_of, column)) for column in zip(*rows, strict=True)]
