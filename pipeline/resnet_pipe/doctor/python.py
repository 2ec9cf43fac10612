"""Python: is it one of the versions that resnet-pipe supports?"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterable
from importlib import metadata

from resnet_pipe.doctor.finding import Finding


def check() -> Iterable[Finding]:
    """Compare the version of Python with the one that the package wants."""
    here = f"{platform.python_version()} ({platform.python_implementation()}) in {sys.prefix}"
    try:
        wanted = metadata.metadata("resnet-pipe")["Requires-Python"]
    except metadata.PackageNotFoundError:
        wanted = ""  # the check of the packages says so
    if supports(wanted, sys.version_info[:2]):
        return [Finding("python", "OK", here)]
    remedy = "python3.12 -m venv .venv && .venv/bin/pip install resnet-pipe"
    return [Finding("python", "FAIL", f"{here}: resnet-pipe needs {wanted}", remedy)]


def supports(wanted: str, version: tuple[int, int]) -> bool:
    """Tell whether a version of Python is wanted.

    Args:
        wanted: such as `>=3.10,<3.14`; other comparisons than these two are passed over.
        version: major and minor.
    """
    for comparison, major, minor in re.findall(r"(>=|<)\s*(\d+)\.(\d+)", wanted):
        limit = int(major), int(minor)
        if version < limit if comparison == ">=" else version >= limit:
            return False
    return True
