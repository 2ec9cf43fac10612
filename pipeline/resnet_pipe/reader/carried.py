"""What comes with an image, such as a label, as text: from a member of an archive, or a column of a list."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from resnet_pipe.errors import UsageError
from resnet_pipe.reader.source import NOTHING, Carried

MAX_BYTES = 1 << 20
"""A longer text, in UTF-8, is not carried."""
_NO_TEXT = (ValueError, OverflowError, RecursionError)
"""What is raised over values that cannot become text: half a character, a date that Python has not."""
_INNER = ("value_type", "key_type", "item_type", "storage_type")
"""What an Arrow type calls those that it is made of; those of a struct it has as fields."""

_SHOWN = 10
"""So many names of columns are listed."""


def carried(columns: Sequence[str], value: Callable[[str], object]) -> Carried:
    """Ask for the value of each column, and return them as texts.

    What has no text, or one that is too long, or is a `ValueError`, becomes None, with a note that says why.
    """
    if not columns:
        return NOTHING
    texts, notes = list[str | None](), list[str]()
    for column in columns:
        try:
            texts.append(_text(value(column)))
        except _NO_TEXT as error:
            texts.append(None)
            notes.append(f"{column} is null: {_reason(error)}")
    return Carried(tuple(texts), tuple(notes))


def _text(value: object) -> str | None:
    """Return texts as they are, bytes as the UTF-8 that they are, and all else as its JSON."""
    if value is None:
        return None
    text = value if isinstance(value, str) else value.decode() if isinstance(value, bytes) else _json(value)
    size = len(text) if text.isascii() else len(text.encode())
    if size > MAX_BYTES:
        raise ValueError(too_long(size))
    return text


def too_long(size: int) -> str:
    """Return why a text of so many bytes is not carried."""
    return f"{size} bytes, more than {MAX_BYTES}"


def _json(value: object) -> str:
    if isinstance(value, bool | int | float | list | dict):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain)
    return _plain(value)


def _plain(value: Any) -> str:  # noqa: ANN401 - what JSON has no words for
    """Return the text of a date, a time, a decimal number and the like."""
    return str(value.isoformat() if hasattr(value, "isoformat") else value)


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeError):
        return "it is not UTF-8"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return " ".join(str(error).split())


def python_value(scalar: Any) -> object:  # noqa: ANN401 - a pyarrow.Scalar
    """Return an Arrow value in Python; of float32 as its shortest text says: 0.1, and no more digits."""
    from pyarrow import types

    kind = scalar.type
    if not scalar.is_valid:
        return None
    if types.is_float32(kind) or types.is_float16(kind):
        number = np.float32 if types.is_float32(kind) else np.float16
        return float(str(number(scalar.as_py())))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return [python_value(one) for one in scalar.values]
    if types.is_struct(kind):
        return {one.name: python_value(scalar[at]) for at, one in enumerate(kind)}
    return scalar.as_py()


def check_columns(path: object, columns: Sequence[str], schema: Any) -> None:  # noqa: ANN401 - a pyarrow.Schema
    """Refuse, with a `UsageError`, a Parquet file without these columns, or in which they hold bytes."""
    names = schema.names
    for column in columns:
        found = [schema.field(at).type for at in schema.get_all_field_indices(column)]
        if len(found) == 1 and not _holds_bytes(found[0]):
            continue
        fitting = [one.name for one in schema if names.count(one.name) == 1 and not _holds_bytes(one.type)]
        problem = "is not there"
        if found:
            problem = "is there twice" if len(found) > 1 else f"is {found[0]}, which holds bytes and no text"
        shown = ", ".join(fitting[:_SHOWN]) + (" and others" if len(fitting) > _SHOWN else "")
        remedy = f"reader.carry: some of {shown}" if fitting else "remove reader.carry"
        raise UsageError(f"{path}: the column {column!r} {problem}", remedy)


def _holds_bytes(kind: Any) -> bool:  # noqa: ANN401 - a pyarrow.DataType
    from pyarrow import types

    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return True
    inner = [getattr(kind, name) for name in _INNER if hasattr(kind, name)]
    return any(map(_holds_bytes, [*inner, *(one.type for one in kind)] if types.is_struct(kind) else inner))
