"""Files that a listing passes over because of their extension, counted by extension."""

from __future__ import annotations

import os
from collections import Counter

_SHOWN = 5
_KINDS = 1000
"""At most this many extensions are counted separately: files may be called `frame.000001` and so on."""


def extension(name: str) -> str:
    """Return the extension of a name or a key, in lower case and with the dot; empty if there is none."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - for each of a million files


class PassedOver:
    """Counts files by extension."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._others = 0

    def add(self, key: str) -> None:
        """Count a file."""
        kind = extension(key)
        if kind in self._counts or len(self._counts) < _KINDS:
            self._counts[kind] += 1
        else:
            self._others += 1

    def __bool__(self) -> bool:
        return bool(self._counts)

    def to_json(self) -> dict[str, int]:
        """Return the most frequent extensions with their counts, and all others as `others`."""
        shown = sorted(self._counts.items(), key=lambda kind: (-kind[1], kind[0]))[:_SHOWN]
        others = self._counts.total() + self._others - sum(count for _, count in shown)
        return {**dict(shown), **({"others": others} if others else {})}

    def describe(self) -> str:
        """Return it in words, such as `passed over 312 .psd, 4 .txt and 7 others`; empty for no files."""
        counts = self.to_json()
        others = counts.pop("others", 0)
        kinds = [f"{count} {kind or 'without an extension'}" for kind, count in counts.items()]
        if not kinds:
            return ""
        return f"passed over {', '.join(kinds)}{f' and {others} others' if others else ''}"
