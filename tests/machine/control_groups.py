"""Faked `/proc` and `/sys` with control groups, as containers and systemd make them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

UNLIMITED_V1 = "9223372036854771712"


def system(root: Path, groups: str, mounts: Mapping[str, str], files: Mapping[str, str]) -> Path:
    """Write what the kernel tells a process about its control groups, and return the root of it all.

    Args:
        root: an empty directory.
        groups: the contents of /proc/self/cgroup.
        mounts: by mount point, what it shows and as what: `/ cgroup2` or `/docker/1 cgroup memory`.
        files: by path, what is in them.
    """
    lines = ["22 27 0:21 / /proc rw,relatime - proc proc rw"]
    for number, (place, shown) in enumerate(mounts.items(), 30):
        top, kind, *controllers = shown.split()
        options = ",".join(["rw", *controllers])
        lines.append(f"{number} 25 0:{number} {top} {place} rw,relatime shared:9 - {kind} {kind} {options}")
    contents = {"/proc/self/cgroup": groups, "/proc/self/mountinfo": "\n".join(lines), **files}
    for name, text in contents.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def docker(root: Path, memory: str = "max", cpu: str = "max 100000") -> Path:
    """Return the system as a container of Docker sees it with cgroup v2."""
    top = "/sys/fs/cgroup"
    return system(root, "0::/", {top: "/ cgroup2"}, {f"{top}/memory.max": memory, f"{top}/cpu.max": cpu})
