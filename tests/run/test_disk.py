"""Disks that are full, read-only or gone: a clear error; once they are back, the same command completes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.run.commands import Result
from tests.run.faults import DECODER, Gate
from tests.run.jobs import (
    HOME,
    JobFolder,
    assert_clean,
    assert_same_rows,
    numbered,
    records,
    states,
    wait_until,
)


@pytest.fixture
def disk(job: JobFolder) -> Iterator[JobFolder]:
    """A job of twelve images, whose output directory is a file system of 1 MiB of its own."""
    job.add(*numbered(12))
    job.write(run="min_free: 0")
    job.out.mkdir()
    try:
        as_root("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", job.out)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"nothing can be mounted here: {error}")
    yield job
    with suppress(subprocess.CalledProcessError):  # a test has done it
        as_root("umount", "--lazy", job.out)


def as_root(*command: str | Path) -> None:
    """Run a command that needs to be root's."""
    prefix = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
    subprocess.run([*prefix, *command], check=True, capture_output=True)


def fill(directory: Path, leave_kib: int) -> Path:
    """Fill the file system of a directory with one file, and return that."""
    status = os.statvfs(directory)
    ballast = directory / "ballast"
    ballast.write_bytes(bytes(status.f_bavail * status.f_frsize - leave_kib * 1024))
    return ballast


def assert_error(result: Result, *words: str) -> None:
    """Check that a run ended with exit code 1 and an error with its reason and its remedy."""
    said = result.expect(1).stderr
    (error,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert all(word in error for word in words), error
    assert "what to do: " in said


@pytest.mark.parametrize("leave_kib", [0, 16, 20, 24, 40])
def test_a_full_disk_ends_the_run_and_after_space_is_freed_the_same_command_completes(
    disk: JobFolder, leave_kib: int
) -> None:
    ballast = fill(disk.out, leave_kib)
    assert_error(disk.run(), "No space left on device", str(disk.out))
    assert_clean(disk.out)
    done = disk.paths()
    assert done == numbered(len(done))
    ballast.unlink()
    disk.run().expect(0)
    assert_same_rows(disk.out, disk.undisturbed())
    assert_clean(disk.out)


def test_a_run_ends_before_the_disk_is_full_and_commits_what_has_begun(disk: JobFolder) -> None:
    disk.write(run="min_free: 512KiB")
    ballast = fill(disk.out, 512 + 36)
    said = disk.run().expect(1).stderr
    assert " KiB free, and 512.0 KiB (run.min_free) stay free; the results of the" in said
    assert "what to do: free some space; the same command continues" in said
    assert_clean(disk.out)
    done = disk.paths()
    assert done == numbered(len(done))
    assert 2 <= len(done) < 12
    ballast.unlink()
    disk.run().expect(0)
    assert_same_rows(disk.out, disk.undisturbed())


def test_a_full_disk_takes_nothing_from_what_was_there_when_sources_have_changed(disk: JobFolder) -> None:
    disk.add_bad("bad.jpg")
    disk.run().expect(3)
    before = states(disk.out)
    disk.change("0003.jpg")
    ballast = fill(disk.out, leave_kib=4)
    assert_error(disk.run(), "No space left on device")
    assert states(disk.out) == before
    assert list(disk.failures()) == ["bad.jpg"]
    assert_clean(disk.out)
    ballast.unlink()
    disk.run().expect(0)
    assert disk.summary()["sources"]["done"] == 1
    assert disk.paths() == numbered(12)
    assert_clean(disk.out)


BAD_DISK = """
import errno, os, stat
fsync = os.fsync

def refuse(descriptor):
    if stat.S_ISDIR(os.fstat(descriptor).st_mode) and "ledger" in os.readlink(f"/proc/self/fd/{descriptor}"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    fsync(descriptor)

os.fsync = refuse
"""
"""The disk does not keep the names of the ledger's records."""


def test_a_disk_that_does_not_keep_the_names_of_records_ends_the_run_and_the_same_command_completes(
    job: JobFolder,
) -> None:
    job.add(*numbered(3))
    assert_error(job.run(faults=BAD_DISK), "Input/output error", str(job.out / HOME / "ledger"))
    job.run().expect(0)
    assert_same_rows(job.out, job.undisturbed())
    assert_clean(job.out)


def test_an_output_directory_that_cannot_be_written_is_an_error_and_stays_as_it_is(disk: JobFolder) -> None:
    disk.run("--set", f"reader.path={disk.images}/000[0-5].jpg").expect(0)
    before = states(disk.out)
    as_root("mount", "-o", "remount,ro", disk.out)
    assert_error(disk.run(), "Read-only file system", str(disk.out))
    assert states(disk.out) == before
    as_root("mount", "-o", "remount,rw", disk.out)
    disk.run().expect(0)
    assert_same_rows(disk.out, disk.undisturbed())


def test_an_output_disk_that_is_unmounted_during_the_run_leaves_nothing_in_its_mount_point(
    disk: JobFolder,
) -> None:
    disk.add("0012.jpg", comment="gate")
    with disk.start(faults=DECODER) as run:
        Gate(disk).wait()
        wait_until(lambda: len(records(disk.out)) == 6, "all but the last chunk are committed")
        as_root("umount", "--lazy", disk.out)
        Gate(disk).open()
        assert_error(run.end(), "No such file or directory", str(disk.out))
    assert list(disk.out.iterdir()) == []


@pytest.mark.parametrize("item", [2, 3], ids=["before a shard is begun", "while a shard is written"])
def test_an_output_directory_that_vanishes_during_the_run_is_not_made_again(
    job: JobFolder, item: int
) -> None:
    job.write(batch_size=1)
    for number in range(6):
        job.add(f"{number:04d}.jpg", comment="gate" if number == item else "")
    with job.start(faults=DECODER) as run:
        Gate(job).wait()
        wait_until(lambda: len(records(job.out)) == 1, "the first chunk is committed")
        if item == 3:
            wait_until(
                lambda: list((job.out / HOME / "staging").rglob("part-*")), "the second shard is begun"
            )
        moved = job.out.rename(job.folder / "moved")
        Gate(job).open()
        assert_error(run.end(), "No such file or directory", str(job.out))
    assert not job.out.exists()
    moved.rename(job.out)
    assert job.paths() == numbered(2)
    job.run().expect(0)
    assert_same_rows(job.out, job.undisturbed())
    assert_clean(job.out)


@pytest.mark.parametrize("is_there", [False, True], ids=["gone", "empty, like a mount point"])
def test_input_that_vanishes_during_the_run_ends_it_and_no_source_is_a_failure(
    job: JobFolder, is_there: bool
) -> None:
    job.add(*numbered(2))
    job.add("0002.jpg", comment="gate")
    job.add(*numbered(20, start=3))
    with job.start(faults=DECODER) as run:
        Gate(job).wait()
        wait_until(lambda: len(records(job.out)) == 1, "the first chunk is committed")
        moved = job.images.rename(job.folder / "moved")
        if is_there:
            job.images.mkdir()
        Gate(job).open()
        assert_error(run.end(), "the input is gone", str(job.images))
    assert job.failures() == {}
    assert_clean(job.out)
    if is_there:
        job.images.rmdir()
    moved.rename(job.images)
    job.run().expect(0)
    assert_same_rows(job.out, job.undisturbed())


def test_a_single_file_that_vanishes_during_the_run_is_a_failure(job: JobFolder) -> None:
    job.add("0000.jpg", comment="gate")
    job.add(*numbered(8, start=1))
    with job.start(faults=DECODER) as run:
        Gate(job).wait()
        (job.images / "0007.jpg").unlink()  # the next ones are open already, to be read ahead
        Gate(job).open()
        run.end().expect(3)
    assert job.failures()["0007.jpg"]["error"] == "missing"
    assert job.paths() == [name for name in numbered(9) if name != "0007.jpg"]


def test_a_metrics_path_in_a_directory_that_is_not_there_is_a_mistake_in_the_job(job: JobFolder) -> None:
    job.write(run="metrics: collector/resnet.prom")
    job.add("0000.jpg")
    assert f"no such directory: {job.folder}/collector" in job.run().expect(2).stderr
    assert not job.out.exists()


def test_metrics_whose_directory_vanishes_during_the_run_are_a_warning(
    job: JobFolder,
) -> None:
    (job.folder / "collector").mkdir()
    job.write(run="metrics: collector/resnet.prom")
    job.add("0000.jpg", comment="gate")
    with job.start(faults=DECODER) as run:
        Gate(job).wait()
        (job.folder / "collector").rmdir()
        Gate(job).open()
        said = run.end().expect(0).stderr
    assert "warning: no metrics: " in said
    assert "collector" in said
    assert job.paths() == ["0000.jpg"]
    assert job.summary()["exit_code"] == 0
    assert_clean(job.out)
    (job.folder / "collector").mkdir()
    job.run().expect(0)
    assert "resnet_pipe_exit_code" in (job.folder / "collector" / "resnet.prom").read_text()


def test_an_output_path_below_a_file_is_an_error(job: JobFolder) -> None:
    job.add("0000.jpg")
    (job.folder / "file").write_text("")
    assert_error(job.run("--set", f"writer.path={job.folder}/file/out"), "Not a directory")
    assert not (job.folder / HOME).exists()
