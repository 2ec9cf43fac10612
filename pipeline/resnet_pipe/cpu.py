"""The processor, as Linux describes it."""

from __future__ import annotations

import re
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
_FIRST_CORE_BYTES = 1 << 16
"""More than what is said about one core; a machine may have hundreds."""


def info(path: Path | None = None) -> dict[str, str]:
    """Return what Linux says about the first core, such as its `model name`; nothing elsewhere.

    Args:
        path: of the file to read; None for `CPUINFO`.
    """
    try:
        with (path or CPUINFO).open(encoding="utf-8", errors="replace") as file:
            text = file.read(_FIRST_CORE_BYTES).partition("\n\n")[0]
    except OSError:
        return {}
    return dict(re.findall(r"^([^\t:]+?)\s*: (.*)$", text, re.MULTILINE))


def features(path: Path | None = None) -> frozenset[str]:
    """Return the instructions of the processor, under Linux's names, such as `avx2` or, on ARM, `asimd`.

    Args:
        path: of the file to read; None for `CPUINFO`.
    """
    values = info(path)
    return frozenset((values.get("flags") or values.get("Features", "")).split())
