"""The cores and the memory that a run may use: those of its container or service, not of the machine."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from resnet_pipe.machine.limits import available_bytes, available_cores
from resnet_pipe.reader.images.section import ImagesSection
from resnet_pipe.run.chunk_runner import SLOTS_PER_WORKER
from resnet_pipe.run.workers.count import needs
from resnet_pipe.run.workers.slots import SlotShape
from tests.machine.control_groups import UNLIMITED_V1, docker, system
from tests.run.jobs import JobFolder, numbered

GIB = 1 << 30
PHYSICAL = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
CORES = 64
V1 = {f"/sys/fs/cgroup/{name}": f"/ cgroup {name}" for name in ("memory", "cpu")}
SCOPE = "/system.slice/docker-1.scope"


@pytest.fixture(autouse=True)
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(CORES)), raising=False)


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", CORES),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("10000 100000", 1),
        ("nonsense", CORES),
    ],
)
def test_a_quota_of_a_container_decides_how_many_cores_there_are(
    tmp_path: Path, quota: str, cores: int
) -> None:
    assert available_cores(docker(tmp_path, cpu=quota)) == cores


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("max", PHYSICAL), (str(GIB), GIB), (str(PHYSICAL + GIB), PHYSICAL), ("", PHYSICAL)],
)
def test_a_limit_of_a_container_decides_how_much_memory_there_is(
    tmp_path: Path, limit: str, expected: int
) -> None:
    assert available_bytes(docker(tmp_path, memory=limit)) == expected


def memory_files(top: str, **limits: str) -> dict[str, str]:
    """Return the files of nested groups below `top`: `a_b` is the group /a/b."""
    return {f"{top}/{name.replace('_', '/')}/memory.max": limit for name, limit in limits.items()}


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"a": "max", "a_b": str(2 * GIB), "a_b_c": "max"}, 2 * GIB),
        ({"a": str(GIB), "a_b": str(2 * GIB), "a_b_c": str(3 * GIB)}, GIB),
        ({"a": "max", "a_b": "max", "a_b_c": str(GIB)}, GIB),
        ({"a": "max", "a_b": "max", "a_b_c": "max", "a_b_c_d": "1", "other": "1"}, PHYSICAL),
    ],
    ids=["in the middle", "the smallest is above", "its own", "those below and beside do not count"],
)
def test_of_nested_groups_the_smallest_limit_counts(
    tmp_path: Path, limits: Mapping[str, str], expected: int
) -> None:
    top = "/sys/fs/cgroup"
    root = system(tmp_path, "0::/a/b/c", {top: "/ cgroup2"}, memory_files(top, **limits))
    assert available_bytes(root) == min(expected, PHYSICAL)


def test_a_service_that_is_held_up_at_some_size_has_no_more_than_that(tmp_path: Path) -> None:
    """MemoryHigh= of systemd: memory.high."""
    files = {
        "/sys/fs/cgroup/system.slice/a.service/memory.max": "max",
        "/sys/fs/cgroup/system.slice/a.service/memory.high": str(GIB),
    }
    root = system(tmp_path, "0::/system.slice/a.service", {"/sys/fs/cgroup": "/ cgroup2"}, files)
    assert available_bytes(root) == GIB


def test_a_mount_may_show_the_containers_own_group_as_its_root(tmp_path: Path) -> None:
    files = {
        "/sys/fs/cgroup/memory.max": str(2 * GIB),
        "/sys/fs/cgroup/cpu.max": "400000 100000",
        "/sys/fs/cgroup/inner/memory.max": str(GIB),
        "/sys/fs/cgroup/inner/cpu.max": "max 100000",
    }
    root = system(tmp_path, f"0::{SCOPE}/inner", {"/sys/fs/cgroup": f"{SCOPE} cgroup2"}, files)
    assert (available_bytes(root), available_cores(root)) == (GIB, 4)


def test_limits_of_version_1_are_found_where_each_controller_is_mounted(tmp_path: Path) -> None:
    mounts = {
        "/sys/fs/cgroup/memory": "/ cgroup memory",
        "/sys/fs/cgroup/cpu,cpuacct": "/ cgroup cpu cpuacct",
    }
    files = {
        "/sys/fs/cgroup/memory/memory.limit_in_bytes": UNLIMITED_V1,
        "/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes": str(GIB),
        "/sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us": "250000",
        "/sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period_us": "100000",
        "/sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_quota_us": "-1",
        "/sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_period_us": "100000",
    }
    root = system(tmp_path, "4:memory:/docker/1\n1:cpu,cpuacct:/docker/1\n0::/", mounts, files)
    assert (available_bytes(root), available_cores(root)) == (GIB, 3)


def test_a_container_of_version_1_sees_its_limit_at_the_root_of_the_mount(tmp_path: Path) -> None:
    files = {
        "/sys/fs/cgroup/memory/memory.limit_in_bytes": str(GIB),
        "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
        "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
    }
    mounts = {place: shown.replace("/ ", "/docker/1 ") for place, shown in V1.items()}
    root = system(tmp_path, "4:memory:/docker/1\n1:cpu:/docker/1", mounts, files)
    assert (available_bytes(root), available_cores(root)) == (GIB, CORES)


@pytest.mark.parametrize("mounts", [{}, V1], ids=["nothing mounted", "empty groups"])
def test_without_control_groups_the_machine_counts(tmp_path: Path, mounts: Mapping[str, str]) -> None:
    assert available_bytes(tmp_path / "nowhere") == PHYSICAL
    root = system(tmp_path, "4:memory:/\n1:cpu:/\n0::/", mounts, {})
    assert (available_bytes(root), available_cores(root)) == (PHYSICAL, CORES)


SMALL = """
import os
sysconf = os.sysconf
os.sysconf = lambda name: {pages} if name == "SC_PHYS_PAGES" else sysconf(name)
os.sched_getaffinity = lambda _pid: set(range(4))
"""
"""A machine with four cores, and no more than so many pages of memory."""


def pages(job: JobFolder, workers: int) -> int:
    """Return the pages in which a run of the job with so many workers has just room."""
    needed = needs(
        "opencv",
        ImagesSection.description.worker_bytes,
        (job.folder / "tiny.onnx").stat().st_size,
        SlotShape(1, SLOTS_PER_WORKER, 1, (32, 32)),
    )
    return math.ceil((needed.run + workers * needed.worker) / os.sysconf("SC_PAGE_SIZE"))


@pytest.mark.parametrize("quietly", [False, True])
def test_where_memory_is_small_fewer_workers_are_started_and_that_is_said(
    job: JobFolder, quietly: bool
) -> None:
    job.write(batch_size=1)
    job.add(*numbered(8))
    faults = SMALL.format(pages=pages(job, 2))
    said = job.run("--set", "run.workers=auto", *["--quiet"] * quietly, faults=faults).expect(0).stderr
    assert job.summary()["workers"] == 2
    (note,) = job.events("note")
    assert note["text"].startswith("2 workers instead of 4: memory is limited to ")
    assert (note["text"] in said) == (not quietly), "a nightly job does not mail it"


def test_just_as_many_workers_as_there_is_room_for_are_started() -> None:
    needed = needs(
        "opencv",
        ImagesSection.description.worker_bytes,
        100_000_000,
        SlotShape(1, SLOTS_PER_WORKER, 8, (224, 224)),
    )
    room = needed.run + 4 * needed.worker
    assert [needed.workers(8, room + more) for more in (-1, 0, needed.worker)] == [3, 4, 5]
    assert needed.workers(2, room) == 2
    assert needed.workers(8, 0) == 1, "one at least"


def test_workers_that_a_job_asks_for_are_started(job: JobFolder) -> None:
    job.write(batch_size=1, workers=3)
    job.add(*numbered(8))
    job.run(faults=SMALL.format(pages=1)).expect(0)
    assert (job.summary()["workers"], job.events("note")) == (3, [])
