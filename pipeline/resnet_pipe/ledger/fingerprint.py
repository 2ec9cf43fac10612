"""The fingerprint of an output directory: refuses to mix rows of different making.

It names what changes rows, and only what deviates from the defaults, sorted: a key that a later version adds,
with a default that changes no row, changes no fingerprint. The default of a key that is there never changes
within a schema version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from resnet_pipe.errors import RunError, UsageError
from resnet_pipe.infer.engine import Precision
from resnet_pipe.store import atomic

NAME = "fingerprint.json"
SCHEMA_VERSION = 2
"""Version 1 had every key, and the name of the model, which changes no row; it had no version either."""


@dataclass(frozen=True)
class Fingerprint:
    """All that changes the rows of a job.

    Attributes:
        parts: by name, sorted; without those that have their default.
        defaults: of these and others, by name.
    """

    parts: dict[str, Any]
    defaults: dict[str, Any]

    @property
    def digest(self) -> str:
        """Return its hash, hexadecimal."""
        return _digest(self.parts)


@dataclass(frozen=True)
class Noted:
    """What a directory says about the making of its rows.

    Attributes:
        parts: as in `Fingerprint`; of schema version 1 also what has its default.
        digests: the hashes that its records name.
    """

    parts: dict[str, Any]
    digests: tuple[str, ...]


def canonical(parts: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts that do not have their default, sorted by name."""
    return {
        name: value
        for name, value in sorted(parts.items())
        if not (name in defaults and defaults[name] == value)
    }


def read(home: Path) -> Noted | None:
    """Return what a directory says about its rows; None if it says nothing.

    Args:
        home: the directory `_resnet_pipe` of the output directory.

    Raises:
        RunError: it cannot be read, or a newer version has written it.
    """
    path = home / NAME
    try:
        data = json.loads(path.read_bytes())
        version = data.get("schema_version", 1)
        if version == 1:
            parts = {name: value for name, value in data.items() if name != "model"}
            return Noted(parts, (_digest(data),))
        if version == SCHEMA_VERSION:
            return Noted(dict(data["parts"]), (_digest(data["parts"]), *data["earlier"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        remedy = "restore it from a backup; or use --fresh, or another writer.path"
        raise RunError(f"{path} cannot be read: {error}", remedy) from None
    raise RunError(
        f"{path}: written by a newer resnet-pipe: its schema version is {version}, and this one supports"
        f" up to {SCHEMA_VERSION}",
        "run the job with that version, or use another writer.path",
    )


def check(home: Path, ours: Fingerprint, digests: Collection[str] = ()) -> None:
    """Compare a job's fingerprint with that of the rows in a directory.

    Args:
        home: the directory `_resnet_pipe` of the output directory.
        ours: the job's.
        digests: the hashes that the records name, for when nothing else says how the rows were made.

    Raises:
        UsageError: they differ; the message lists what changed, and the two ways out.
        RunError: that of the rows cannot be read.
    """
    noted = read(home)
    if noted is None:
        if any(digest != ours.digest for digest in digests):
            raise UsageError(
                f"{home.parent} may have been made with different settings: {home / NAME} is missing",
                "restore that file from a backup; or use --fresh to replace those results, or another"
                " writer.path to keep both",
            )
        return
    before = canonical(noted.parts, ours.defaults)
    changes = [
        f"  {name}: {_text(before.get(name, ours.defaults.get(name)))}"
        f" -> {_text(ours.parts.get(name, ours.defaults.get(name)))}"
        for name in sorted({*before, *ours.parts})
        if name not in before or name not in ours.parts or before[name] != ours.parts[name]
    ]
    if changes:
        raise UsageError(
            f"{home.parent} was made with different settings. What changed:\n" + "\n".join(changes),
            "use --fresh to replace those results, or another writer.path to keep both",
        )


def precision(home: Path) -> str | None:
    """Return the precision of the results in a directory, or None if there are none or it is unknown.

    Args:
        home: the directory `_resnet_pipe` of the output directory.
    """
    try:
        noted = read(home)
    except RunError:
        return None  # `check` says what is wrong
    value = noted.parts.get("infer.precision") if noted else None
    return value if value in get_args(Precision) else None


@contextmanager
def saving(home: Path, ours: Fingerprint, has_rows: bool, tag: str) -> Iterator[None]:
    """Note the fingerprint that all shards of a directory share, before the first one appears.

    It is on the disk when the block begins, and takes the place of an earlier one when the block ends.

    Args:
        home: the directory `_resnet_pipe` of the output directory.
        ours: the job's.
        has_rows: there are rows already, whose records may name a hash of an earlier schema version.
        tag: of the run, among those that share the directory.
    """
    noted = read(home) if has_rows else None
    earlier = [digest for digest in noted.digests if digest != ours.digest] if noted else []
    data = {"schema_version": SCHEMA_VERSION, "parts": ours.parts, "earlier": earlier}
    with atomic.replacing(home / NAME, tag) as temporary:
        temporary.write_bytes(json.dumps(data, indent=1, ensure_ascii=False).encode())
        atomic.sync(temporary)
        yield


def _digest(parts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _text(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
