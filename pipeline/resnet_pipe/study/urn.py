"""The urn that trials draw their sources from: each draws others, and all draws are like the whole."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_GOLDEN = (math.sqrt(5) - 1) / 2
"""Its multiples, modulo 1, are spread as evenly as can be, however many one takes."""


class Draw(NamedTuple):
    """Files that were drawn, in their order in the listing, and their bytes."""

    paths: tuple[Path, ...]
    size: int


class _File(NamedTuple):
    kind: str
    size: int
    place: int
    path: Path


@dataclass(frozen=True)
class Urn:
    """Files of a sample, sorted by extension, then by size, then by their place in the listing."""

    files: tuple[_File, ...]

    @classmethod
    def of(cls, paths: Iterable[Path]) -> Urn:
        """Put files into an urn; one that cannot be looked at counts as empty, and the trial reports it."""
        files = (_File(path.suffix.lower(), _size_of(path), place, path) for place, path in enumerate(paths))
        return cls(tuple(sorted(files)))

    def draw(self, turn: int, count: int) -> Draw:
        """Draw so many files, at equal distances from another beginning in each turn.

        So each kind and each size is in it as often as in the urn: a systematic sample of a sorted list
        (Cochran, Sampling Techniques, 1977, chapter 8), and several turns tell how much such samples differ.
        Turns are always the same. Where there are too few files, each is drawn several times.
        """
        begin, held = (turn * _GOLDEN) % 1, len(self.files)
        drawn = [self.files[int((begin + number) * held / count)] for number in range(count)]
        drawn.sort(key=lambda file: file.place)
        return Draw(tuple(file.path for file in drawn), sum(file.size for file in drawn))


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
