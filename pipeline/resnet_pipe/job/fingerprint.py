"""The fingerprint of a job: all that changes its rows.

It names only what deviates from the defaults, sorted: a key that a later version adds, with a default that
changes no row, changes no fingerprint. The default of a key that is there never changes within a schema
version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Fingerprint:
    """Settings by name, sorted, without those that have their default; the defaults are of others, too."""

    settings: dict[str, Any]
    defaults: dict[str, Any]

    @property
    def digest(self) -> str:
        """Return its hash, hexadecimal."""
        return digest(self.settings)


def canonical(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that do not have their default, sorted by name."""
    return {
        name: value
        for name, value in sorted(settings.items())
        if not (name in defaults and defaults[name] == value)
    }


def digest(settings: Mapping[str, Any]) -> str:
    """Return the hash of settings, hexadecimal: SHA-256 of their JSON."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
