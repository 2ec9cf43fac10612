"""Text in CSV files, which spreadsheets open: file names and labels must not become formulas there.

What OWASP says of CSV injection: a cell that begins with one of some signs gets a single quote before it, and
is text then. So does one that begins with a quote already: whoever takes one quote away has what was meant.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What may begin a formula; the last four are the full-width forms of the first four."""
_QUOTED = ("'", *_FORMULA)


def to_cell(text: str) -> str:
    """Return the cell of a text. Numbers are none: a minus sign is theirs."""
    return f"'{text}" if text.startswith(_QUOTED) else text


def from_cell(cell: str) -> str:
    """Return the text of a cell; one from before cells were quoted is its own, unless it looks quoted."""
    return cell[1:] if cell.startswith("'") and cell.startswith(_QUOTED, 1) else cell


def lines_in(path: Path) -> Iterator[list[str]]:
    """Yield the cells of each line of a CSV file, without those of its header."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        next(lines)
        yield from lines


def keys_in(path: Path) -> Iterator[tuple[str, int | None]]:
    """Yield the source and the frame of each line of a file whose first columns they are."""
    for line in lines_in(path):
        yield from_cell(line[0]), int(line[1]) if line[1] else None
