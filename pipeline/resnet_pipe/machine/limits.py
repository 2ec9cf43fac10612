"""How many cores and how much memory this process may use.

That is what the machine has, cut by the control groups that a container or systemd has put the process into.
A group has no more than every group above it has (cgroups(7)), so all of them count: a service with a limit
of its own may run in a container with a smaller one.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/")


def available_cores(root: Path = ROOT) -> int:
    """Return the cores this process may use: its CPU affinity, cut by the quotas of its control groups.

    A container with `--cpus 2` on a 64-core host sees 64 cores; threads for all of them would fight.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = (_quota(directory) for directory in _directories("cpu", root))
    return max(1, min([affinity, *(math.ceil(quota) for quota in quotas if quota is not None)]))


def available_bytes(root: Path = ROOT) -> int:
    """Return the memory this process may have, bytes: beyond a limit it would be ended, or held up.

    A container with `--memory 1g` sees the memory of its host. Version 1 has no word for no limit, but a
    number that no machine reaches.
    """
    limits = (
        _number(directory / name)
        for directory in _directories("memory", root)
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes")
    )
    return min([physical_bytes(), *(limit for limit in limits if limit is not None)])


def physical_bytes() -> int:
    """Return the memory of the machine, regardless of limits."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _quota(directory: Path) -> float | None:
    """Return the CPU quota that a group sets, in cores: of version 2 (cpu.max) or of version 1."""
    try:
        quota, period = (directory / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    microseconds, period_us = (_number(directory / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    return microseconds / period_us if microseconds and period_us and microseconds > 0 else None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # there is none, or it is `max`
        return None


def _directories(controller: str, root: Path) -> Iterator[Path]:
    """Yield the directories of the groups that this process is in, each followed by those above it.

    The controller is `cpu` or `memory`; of version 1 each is mounted on its own, maybe with others. A
    container may show its own group as the root of the mount: then the path of a group begins with what is
    called its root in mountinfo (proc_pid_mountinfo(5)).
    """
    groups = {}
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, group = line.split(":", 2)
        if not controllers:
            groups["cgroup2"] = group
        elif controller in controllers.split(","):
            groups["cgroup"] = group
    for line in _lines(root / "proc/self/mountinfo"):
        mount, _, system = line.partition(" - ")
        if not system.startswith("cgroup"):
            continue
        _, _, _, top, place, *_ = mount.split()
        kind, *_, options = system.split()
        if kind not in groups or (kind == "cgroup" and controller not in options.split(",")):
            continue
        own = PurePosixPath(groups[kind])
        below = own.relative_to(top) if own.is_relative_to(top) else PurePosixPath()
        for part in (below, *below.parents):
            yield root / place.lstrip("/") / part


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []
