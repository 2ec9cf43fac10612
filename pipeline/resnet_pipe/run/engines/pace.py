"""How long a forward pass may take."""

from __future__ import annotations

_FIRST = 5
_FACTOR = 50.0
_LEAST_S = 60.0


class Pace:
    """What a forward pass may take. Used from several threads.

    That is `infer.timeout_s`; but once the first batches of a size have shown what they take, no more than
    many times the slowest of them, and a minute at least.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._first: dict[int, list[float]] = {}
        """Seconds of the first batches, by the number of their rows."""

    def note(self, rows: int, seconds: float) -> None:
        """Note what a batch of so many rows has taken."""
        first = self._first.setdefault(rows, [])
        if len(first) < _FIRST:
            first.append(seconds)

    def limit_s(self, rows: int) -> float:
        """Return the seconds that a batch of so many rows may take."""
        first = self._first.get(rows, ())
        if len(first) < _FIRST:
            return self._timeout_s
        return min(self._timeout_s, max(_LEAST_S, _FACTOR * max(first)))

    def excess(self, rows: int) -> str:
        """Return in words what the limit for so many rows comes from."""
        if self.limit_s(rows) == self._timeout_s:
            return "longer than infer.timeout_s (raise it if a batch may take that long)"
        return (
            f"while none of the first {_FIRST} of this size took longer than {max(self._first[rows]):.2g} s"
        )
