"""How many CPU cores this process may really use."""

from __future__ import annotations

import math
import os
from pathlib import Path


def available_cores() -> int:
    """Return the cores this process may use: its CPU affinity, cut by the quota of its cgroup.

    A container with `--cpus 2` on a 64-core host sees 64 cores; threads for all of them would fight.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota(Path("/sys/fs/cgroup"))
    return max(1, affinity if quota is None else min(affinity, math.ceil(quota)))


def _cgroup_quota(root: Path) -> float | None:
    """Return the CPU quota in cores, or None; cgroup v2 first, then v1 (cgroups(7))."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        quota = (root / "cpu" / "cpu.cfs_quota_us").read_text()
        period = (root / "cpu" / "cpu.cfs_period_us").read_text()
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError):
        return None
