"""A video, or a part of one, that a row names; in a key as a media fragment of the W3C: `a.mp4#t=10.5,20`."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

_BEGIN = "#t="
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_FRAGMENT = re.compile(rf"#t=(?=.)({_NUMBER})?(?:,({_NUMBER}))?")
_SECONDS = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?")
_LONGEST, _MOST_PLACES = 40, 30
"""Characters of a number, and its decimal places."""
_WHOLE = "#t=0"
"""After the name of a file that itself ends like a fragment."""


class Clip(NamedTuple):
    """A part of a video file, from `start` to `end`, seconds after its first frame; None for all there is."""

    file: str
    start: Fraction | None = None
    end: Fraction | None = None


def clip_of(key: str) -> Clip:
    """Return what a key names."""
    at = key.rfind(_BEGIN)
    found = _FRAGMENT.fullmatch(key, at) if at > 0 else None
    if found is None:
        return Clip(key)
    start, end = (None if text is None else Fraction(text) for text in found.groups())
    return Clip(key[:at], start, end)


def key_of_clip(file: str, start: object = None, end: object = None) -> str:
    """Return the key of a part of a file, of which the values of a row say where it starts and ends.

    ValueError: they are no numbers of seconds, or not in order.
    """
    first, last = _seconds(start), _seconds(end)
    if first and last and Fraction(first) >= Fraction(last):
        raise ValueError(f"{first} is not before {last}")
    if last and not Fraction(last):
        raise ValueError("it ends where it starts")
    if last:
        return f"{file}{_BEGIN}{first},{last}"
    if first:
        return f"{file}{_BEGIN}{first}"
    return file if clip_of(file) == Clip(file) else f"{file}{_WHOLE}"


def _seconds(value: object) -> str:
    """Return a number of seconds as text, the same for equal ones; nothing if there is none."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return ""
    text = str(value).strip()
    is_number = isinstance(value, str | int | float | Decimal) and not isinstance(value, bool)
    if not is_number or len(text) > _LONGEST or not _SECONDS.fullmatch(text):
        raise ValueError(f"{text[:_LONGEST]!r} is no number of seconds")
    number = format(Decimal(text), "f")
    whole, _, places = number.partition(".")
    if len(places.rstrip("0")) > _MOST_PLACES:
        raise ValueError(f"{text!r} has too many decimal places")
    return f"{whole.lstrip('0') or '0'}.{places.rstrip('0')}".rstrip(".")
