"""fingerprint.json: how the rows of a directory were made, so that no rows of another making join them."""

from __future__ import annotations

import json
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from resnet_pipe.errors import RunError, UsageError
from resnet_pipe.job.fingerprint import Fingerprint, canonical, digest
from resnet_pipe.store.store import HOME, Store

NAME = f"{HOME}/fingerprint.json"
SCHEMA_VERSION = 2
"""Version 1 had every key, and the name of the model, which changes no row; it had no version either."""


@dataclass(frozen=True)
class Noted:
    """What a directory says about the making of its rows: settings, and the hashes that its records name.

    Settings are as in `Fingerprint`; of schema version 1 also what has its default.
    """

    settings: dict[str, Any]
    digests: tuple[str, ...]


def read(store: Store) -> Noted | None:
    """Return what an output directory says about its rows; None if it says nothing.

    RunError if it cannot be read, or a newer version has written it.
    """
    try:
        data = json.loads(store.read(NAME))
        version = data.get("schema_version", 1)
        if version == 1:
            settings = {name: value for name, value in data.items() if name != "model"}
            return Noted(settings, (digest(data),))
        if version == SCHEMA_VERSION:
            return Noted(dict(data["parts"]), (digest(data["parts"]), *data["earlier"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        remedy = "restore it from a backup; or use --fresh, or another writer.path"
        raise RunError(f"{store.where(NAME)} cannot be read: {error}", remedy) from None
    raise RunError(
        f"{store.where(NAME)}: written by a newer resnet-pipe: its schema version is {version}, and this one"
        f" supports up to {SCHEMA_VERSION}",
        "run the job with that version, or use another writer.path",
    )


def check(store: Store, ours: Fingerprint, digests: Collection[str] = ()) -> None:
    """Compare a job's fingerprint with that of the rows in an output directory.

    The digests are those that the records name, for when nothing else says how the rows were made.

    Raises:
        UsageError: they differ; the message lists what changed, and the two ways out.
        RunError: that of the rows cannot be read.
    """
    noted = read(store)
    if noted is None:
        if any(digest != ours.digest for digest in digests):
            raise UsageError(
                f"{store.root} may have been made with different settings: {store.where(NAME)} is missing",
                "restore that file from a backup; or use --fresh to replace those results, or another"
                " writer.path to keep both",
            )
        return
    before = canonical(noted.settings, ours.defaults)
    changes = [
        f"  {part}: {_text(old)} -> {_text(new)}"
        for name in sorted({*before, *ours.settings})
        if name not in before or name not in ours.settings or before[name] != ours.settings[name]
        for part, old, new in _parts(
            name, *(settings.get(name, ours.defaults.get(name)) for settings in (before, ours.settings))
        )
    ]
    if changes:
        raise UsageError(
            f"{store.root} was made with different settings. What changed:\n" + "\n".join(changes),
            "use --fresh to replace those results, or another writer.path to keep both",
        )


def precision(store: Store) -> str | None:
    """Return the precision of the results in a directory, or None if there are none or it is unknown."""
    try:
        noted = read(store)
    except RunError:
        return None  # `check` says what is wrong
    value = noted.settings.get("infer.precision") if noted else None
    return value if isinstance(value, str) else None


def saving(store: Store, ours: Fingerprint, has_rows: bool) -> AbstractContextManager[None]:
    """Note the fingerprint that all shards of a directory share, before the first one appears.

    It is on the disk when the block begins, and takes the place of an earlier one when the block ends. If
    there are rows already, their records may name a hash of an earlier schema version, which is kept.
    """
    noted = read(store) if has_rows else None
    earlier = [digest for digest in noted.digests if digest != ours.digest] if noted else []
    data = {"schema_version": SCHEMA_VERSION, "parts": ours.settings, "earlier": earlier}
    return store.put_after(NAME, [json.dumps(data, indent=1, ensure_ascii=False).encode()])


def _parts(name: str, old: object, new: object) -> list[tuple[str, object, object]]:
    """Return a setting's name and both values; of one that has keys and values, those that differ."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return [(name, old, new)]
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return [(f"{name}.{key}", old.get(key), new.get(key)) for key in keys]


def _text(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
