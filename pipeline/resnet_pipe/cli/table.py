"""A table for a terminal: columns as wide as what is in them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from resnet_pipe.report.one_line import fitting, width_of


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
            lines.append(fitting(rest, most))
            rest = rest[len(lines[-1]) :]
    return [indent + line for line in lines if line]


def widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Return how wide each column is: as its widest cell."""
    return [max(map(width_of, column)) for column in zip(*rows, strict=True)]
