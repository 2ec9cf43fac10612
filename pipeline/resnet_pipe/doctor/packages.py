"""The packages that resnet-pipe wants, with those of its extras: installed, new enough, properly recorded?

Nothing is imported: what their metadata say is what pip goes by.
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import metadata
from itertools import zip_longest

from resnet_pipe.doctor.examination import Finding
from resnet_pipe.machine.cv2_import import DISTRIBUTION as OPENCV

_finding = partial(Finding, "packages")
_OURS = "resnet-pipe"
_NUMBERS = re.compile(r"\d+(?:\.\d+)*")


@dataclass(frozen=True)
class Requirement:
    """A package that resnet-pipe wants: its oldest version and its extra, each empty where there is none."""

    name: str
    minimum: str
    extra: str

    @cached_property
    def version(self) -> str | None:
        """The installed version: None without one, empty if its metadata cannot be read."""
        try:
            version = metadata.version(self.name)
        except metadata.PackageNotFoundError:
            return None
        except Exception:  # of any kind: it depends on the version of Python
            return ""
        return version if isinstance(version, str) and _NUMBERS.match(version) else ""

    @property
    def is_fine(self) -> bool:
        """Whether it is there, and new enough."""
        return bool(self.version) and not is_older(self.version or "", self.minimum)

    @property
    def remedy(self) -> str:
        """The command that mends it."""
        option = "" if self.version is None else "-U " if self.version else "--force-reinstall "
        wanted = f"{self.name}>={self.minimum}" if self.minimum else self.name
        return f"pip install {option}'{wanted}'"

    def describe(self) -> str:
        """Return what there is of it, in words."""
        if self.version is None:
            return f"{self.name} is not installed"
        if not self.version:
            return f"{self.name} is present, but its metadata cannot be read (broken installation)"
        here = f"{self.name} {self.version}"
        return here if self.is_fine else f"{here} is too old: {self.minimum} is needed"


def check() -> Iterator[Finding]:
    """Compare the installed packages with the requirements of resnet-pipe."""
    wanted = requirements()
    if not wanted:
        yield _finding("FAIL", "resnet-pipe itself is not installed", "in a checkout: pip install -e .")
        return
    needed = [one for one in wanted if not one.extra and one.name != OPENCV]  # any cv2 will do
    for one in needed:
        if not one.is_fine:
            yield _finding("FAIL", one.describe(), one.remedy)
    fine = ", ".join(one.describe() for one in needed if one.is_fine)
    yield _finding("OK", f"{fine}; Python {platform.python_version()} in {sys.prefix}")
    yield from _extras([one for one in wanted if one.extra])


def _extras(optional: list[Requirement]) -> Iterator[Finding]:
    lacking = []
    for extra in sorted({one.extra for one in optional}):
        members = [one for one in optional if one.extra == extra]
        if absent := [one.name for one in members if one.version is None]:
            lacking.append(f"{extra} (missing {', '.join(absent)})")
        for one in members:
            if one.version is not None and not one.is_fine:  # what there is may be there for another reason
                yield _finding("WARN", f"extra {extra}: {one.describe()}", one.remedy)
        if all(one.is_fine for one in members):
            yield _finding("OK", f"extra {extra}: {', '.join(one.describe() for one in members)}")
    if lacking:
        yield _finding("OK", f"extras not installed: {'; '.join(lacking)}")


def requirements() -> list[Requirement]:
    """Return what resnet-pipe wants on this system; nothing if it is not installed."""
    try:
        written = metadata.requires(_OURS) or []
    except metadata.PackageNotFoundError:
        return []
    wanted = []
    for line in written:
        text, _, marker = line.partition(";")
        system = re.search(r"sys_platform\s*==\s*['\"](\w+)", marker)
        name = re.match(r"[\w.-]+", text)
        if name is None or name[0] == _OURS or (system and system[1] != sys.platform):
            continue
        minimum = re.search(r">=\s*([\w.]+)", text)
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)", marker)
        wanted += [Requirement(canonical(name[0]), minimum[1] if minimum else "", extra[1] if extra else "")]
    return wanted


def minimum_of(name: str) -> str:
    """Return the oldest version of a dependency that will do; empty if none is named."""
    return next((one.minimum for one in requirements() if one.name == name), "")


def is_older(version: str, minimum: str) -> bool:
    """Tell whether the numbers of a version are below those of another; `4.11.0.86+cu130` is 4.11.0.86."""
    pairs = zip_longest(_numbers(version), _numbers(minimum), fillvalue=0)  # 2.0 is no older than 2.0.0
    return next((one < other for one, other in pairs if one != other), False)


def canonical(name: str) -> str:
    """Return the name of a distribution as the package index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _numbers(version: str) -> list[int]:
    found = _NUMBERS.match(version)
    return [int(number) for number in found[0].split(".")] if found else []
