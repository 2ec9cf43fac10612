"""Its library is not installed."""

from __future__ import annotations

from resnet_pipe.errors import MissingExtraError


def devices() -> dict[str, tuple[str, ...]]:
    raise MissingExtraError("frobnicate", "frobnicate", "engine frobnicate")
