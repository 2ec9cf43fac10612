"""Text on its way to a terminal: control characters in it are shown, never obeyed."""

from __future__ import annotations

import re

_NOT_SHOWN = re.compile("[^\n\t\x20-\x7e\xa0-\ud7ff\ue000-\U0010ffff]")
"""The control characters of ASCII and of Latin-1, and bytes of a file name that are not UTF-8 (PEP 383)."""


def printable(text: str) -> str:
    r"""Return a text in which every control character but newline and tab is written `\xNN`.

    A file may be called ESC[2J, and paths end up in messages. Bytes that are not UTF-8 look as in keys.
    """
    return _NOT_SHOWN.sub(_escape, text)


def _escape(character: re.Match[str]) -> str:
    code = ord(character[0])
    return f"\\x{code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else code:02x}"
