"""Its library is installed, but not what that needs."""

from __future__ import annotations


def devices() -> dict[str, tuple[str, ...]]:
    raise ImportError("libfrobnicate.so.1: cannot open shared object file")
