"""The packages that resnet-pipe wants, with those of its extras: installed, new enough, properly recorded?

Nothing is imported: what their metadata say is what pip goes by.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from itertools import groupby
from typing import Literal

from resnet_pipe.doctor.finding import Finding, Level
from resnet_pipe.machine.cv2_import import DISTRIBUTION as OPENCV

_OURS = "resnet-pipe"
_NUMBERS = re.compile(r"\d+(?:\.\d+)*")


@dataclass(frozen=True)
class Requirement:
    """A package that resnet-pipe wants.

    Attributes:
        name: on the package index.
        minimum: the oldest version that will do; empty for any.
        extra: that it belongs to; empty for what is always needed.
    """

    name: str
    minimum: str
    extra: str

    def __str__(self) -> str:
        return f"{self.name}>={self.minimum}" if self.minimum else self.name


@dataclass(frozen=True)
class State:
    """The installed state of a requirement.

    Attributes:
        requirement: that it is of.
        kind: fine, not there, too old, or of unreadable metadata.
        version: that is installed; empty if none or unknown.
    """

    requirement: Requirement
    kind: Literal["fine", "missing", "too old", "broken"]
    version: str = ""

    @property
    def remedy(self) -> str:
        """The command that mends it."""
        option = {"too old": "-U ", "broken": "--force-reinstall "}.get(self.kind, "")
        return f"pip install {option}'{self.requirement}'"

    def describe(self) -> str:
        """Return it in words."""
        requirement = self.requirement
        match self.kind:
            case "fine":
                return f"{requirement.name} {self.version}"
            case "too old":
                return f"{requirement.name} {self.version} is too old: {requirement.minimum} is needed"
            case "broken":
                return f"{requirement.name} is present, but its metadata cannot be read (broken installation)"
            case _:
                return f"{requirement.name} is not installed"


def check() -> Iterable[Finding]:
    """Compare the installed packages with the requirements of resnet-pipe."""
    wanted = requirements()
    if not wanted:
        return [_finding("FAIL", "resnet-pipe itself is not installed", "in a checkout: pip install -e .")]
    needed = [_state(one) for one in wanted if not one.extra and one.name != OPENCV]  # any cv2 will do
    optional = [_state(one) for one in wanted if one.extra]
    return [*_dependencies(needed), *_extras(optional)]


def _dependencies(states: list[State]) -> Iterator[Finding]:
    for state in states:
        if state.kind != "fine":
            yield _finding("FAIL", state.describe(), state.remedy)
    yield _finding("OK", ", ".join(state.describe() for state in states if state.kind == "fine"))


def _extras(states: list[State]) -> Iterator[Finding]:
    lacking = []
    for extra, group in groupby(sorted(states, key=_extra), key=_extra):
        members = list(group)
        absent = [state.requirement.name for state in members if state.kind == "missing"]
        if absent:  # what there is of it may be there for another reason
            lacking.append(f"{extra} (missing {', '.join(absent)})")
        for state in members:
            if state.kind in ("too old", "broken"):
                yield _finding("WARN", f"extra {extra}: {state.describe()}", state.remedy)
        if all(state.kind == "fine" for state in members):
            yield _finding("OK", f"extra {extra}: {', '.join(state.describe() for state in members)}")
    if lacking:
        yield _finding("OK", f"extras not installed: {'; '.join(lacking)}")


def _extra(state: State) -> str:
    return state.requirement.extra


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
        wanted.append(
            Requirement(canonical(name[0]), minimum[1] if minimum else "", extra[1] if extra else "")
        )
    return wanted


def minimum_of(name: str) -> str:
    """Return the oldest version of a dependency that will do; empty if none is named."""
    return next((one.minimum for one in requirements() if one.name == name), "")


def is_older(version: str, minimum: str) -> bool:
    """Tell whether the numbers of a version are below those of another; `4.11.0.86+cu130` is 4.11.0.86."""
    return _numbers(version) < _numbers(minimum)


def canonical(name: str) -> str:
    """Return the name of a distribution as the package index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _state(requirement: Requirement) -> State:
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return State(requirement, "missing")
    except Exception:  # of any kind: it depends on the version of Python
        return State(requirement, "broken")
    if not isinstance(version, str) or not _NUMBERS.match(version):
        return State(requirement, "broken")
    return State(requirement, "too old" if is_older(version, requirement.minimum) else "fine", version)


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, without zeros at the end: 2.0 is no older than 2.0.0."""
    found = _NUMBERS.match(version)
    numbers = [int(number) for number in found[0].split(".")] if found else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _finding(level: Level, text: str, remedy: str = "") -> Finding:
    return Finding("packages", level, text, remedy)
