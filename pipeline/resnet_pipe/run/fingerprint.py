"""Refuses to mix rows of different making in one output directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from resnet_pipe import atomic
from resnet_pipe.errors import RunError, UsageError

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
