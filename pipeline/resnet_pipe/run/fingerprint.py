"""Refuses to mix rows of different making in one output directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

from resnet_pipe import atomic
from resnet_pipe.errors import RunError, UsageError
from resnet_pipe.infer.engine import Precision

NAME = "fingerprint.json"


def check(home: Path, parts: dict[str, Any]) -> None:
    """Compare a job's fingerprint with the one the shards in a directory were made with.

    Args:
        home: the directory `_resnet_pipe` of the output directory.
        parts: all that changes results, by name.

    Raises:
        UsageError: they differ; the message lists what changed, and the two ways out.
    """
    path = home / NAME
    try:
        before = json.loads(path.read_bytes())
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}", "use --fresh, or another writer.path") from None
    changes = [
        f"  {name}: {_text(before.get(name))} -> {_text(parts.get(name))}"
        for name in sorted({*before, *parts})
        if before.get(name) != parts.get(name)
    ]
    if changes:
        raise UsageError(
            f"{home.parent} holds results of another making. What changed:\n" + "\n".join(changes),
            "--fresh replaces those results; another writer.path keeps both",
        )


def precision(home: Path) -> str | None:
    """Return the precision of the results in a directory, or None if there are none or nobody can tell.

    Args:
        home: the directory `_resnet_pipe` of the output directory.
    """
    try:
        value = json.loads((home / NAME).read_bytes())["infer.precision"]
    except (OSError, ValueError, LookupError, TypeError):
        return None  # `check` says what is wrong
    return value if value in get_args(Precision) else None


def save(home: Path, parts: dict[str, Any], tag: str) -> None:
    """Note the fingerprint that all shards of a directory share, before the first one appears.

    Args:
        home: the directory `_resnet_pipe` of the output directory.
        parts: all that changes results, by name.
        tag: of the run, among those that share the directory.
    """
    atomic.write_bytes(home / NAME, json.dumps(parts, indent=1, ensure_ascii=False).encode(), tag)


def _text(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
