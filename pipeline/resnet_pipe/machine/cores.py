"""How many CPU cores this process may really use."""

from __future__ import annotations

import math
import os
from pathlib import Path

from resnet_pipe.machine import control_groups


def available_cores(root: Path = control_groups.ROOT) -> int:
    """Return the cores this process may use: its CPU affinity, cut by the quota of its control groups.

    A container with `--cpus 2` on a 64-core host sees 64 cores; threads for all of them would fight.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = control_groups.cpu_quota(root)
    return max(1, affinity if quota is None else min(affinity, math.ceil(quota)))
