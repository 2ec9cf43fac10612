"""YAML to plain values that know their line and column, and back."""

from __future__ import annotations

from io import StringIO
from typing import Any

MAX_VALUES = 100_000
"""More values than this come from an alias bomb."""

Place = tuple[str | int, ...]
"""Of a value: keys and indices from the root."""


def parse(text: str, positions: dict[Place, tuple[int, int]] | None = None) -> Any:  # noqa: ANN401 - anything
    """Return what a text of YAML 1.2 holds: dicts, lists and scalars, never objects made from tags.

    Positions get the 1-based (line, column) of every value, by its place.

    Raises:
        Exception: of any kind: the text is not YAML, or has more than `MAX_VALUES` values; see `mark`.
    """
    from ruamel.yaml import YAML

    # The round-trip loader is the one that keeps positions.
    return _plain(YAML(typ="rt", pure=True).load(text), (), {} if positions is None else positions)


def dump(values: dict[str, Any]) -> bytes:
    """Return plain values as YAML."""
    from ruamel.yaml import YAML

    text = StringIO()
    YAML(typ="safe", pure=True).dump(values, text)
    return text.getvalue().encode()


def _plain(value: Any, place: Place, positions: dict[Place, tuple[int, int]]) -> Any:  # noqa: ANN401
    from ruamel.yaml.comments import CommentedMap, CommentedSeq
    from ruamel.yaml.scalarbool import ScalarBoolean  # what has an anchor; it is an int

    if len(positions) > MAX_VALUES:
        raise ValueError("too many values (an alias bomb?)")
    if isinstance(value, CommentedMap):
        result = {}
        for key, item in value.items():
            inner = (*place, str(key))
            positions[inner] = _position(value, key)
            result[str(key)] = _plain(item, inner, positions)
        return result
    if isinstance(value, CommentedSeq):
        items = []
        for index, item in enumerate(value):
            positions[(*place, index)] = _position(value, index)
            items.append(_plain(item, (*place, index), positions))
        return items
    if isinstance(value, bool | ScalarBoolean):
        return bool(value)
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value if value is None else str(value)


def _position(node: Any, key: object) -> tuple[int, int]:  # noqa: ANN401 - a CommentedMap or CommentedSeq
    """Return the 1-based line and column of a key or an index.

    Keys that were merged in and the members of tagged nodes have none: they are where their node is.
    """
    line, column = (node.lc.data or {}).get(key, (node.lc.line, node.lc.col))[:2]
    return (line or 0) + 1, (column or 0) + 1


def mark(error: Exception) -> str:
    """Return where an error of `parse`, or of decoding the text, lies: line:column."""
    if isinstance(error, UnicodeDecodeError):
        before = error.object[: error.start]
        return f"{before.count(10) + 1}:{error.start - before.rfind(10)}"
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return "1:1" if mark is None else f"{mark.line + 1}:{mark.column + 1}"


def one_line(error: Exception) -> str:
    """Return what such an error says, on one line."""
    problem = getattr(error, "problem", None) or str(error)
    return " ".join(str(problem).split())
