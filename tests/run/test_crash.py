"""A run that is killed at any instant, and run again, leaves what an undisturbed run leaves."""

from __future__ import annotations

import random
import re
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

from resnet_pipe.ledger.check.directory import check
from tests.run.commands import command
from tests.run.faults import DECODER
from tests.run.jobs import HOME, JobFolder, assert_clean, assert_same_rows, numbered, read_rows, records

STEPS = """
import os, sys

if "resnet_pipe.run.workers.worker_process" not in sys.orig_argv:
    OUT = {out!r}
    DIE_AT = {die_at}
    number = 0
    descriptor = os.open({log!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def step(name, path):
        global number
        path = os.fsdecode(path)
        if path.startswith(OUT):
            number += 1
            if number == DIE_AT:
                os.kill(os.getpid(), 9)
            os.write(descriptor, f"{{name}} {{path[len(OUT):]}}\\n".encode())

    def watch(event, arguments):
        if event == "open":
            path, mode, flags = arguments
            if not isinstance(path, int) and flags & (os.O_WRONLY | os.O_RDWR):
                step("open", path)
        elif event == "os.rename":
            step("rename to", arguments[1])
        elif event in ("os.remove", "os.mkdir", "os.rmdir"):
            step(event, arguments[0])

    def noted_fsync(descriptor):
        path = os.readlink(f"/proc/self/fd/{{descriptor}}")
        step("fsync", path)
        fsync(descriptor)

    fsync, os.fsync = os.fsync, noted_fsync
    sys.addaudithook(watch)
"""
"""Notes every step that changes the output directory in `log`, and dies before the one of number `die_at`."""

SLOW = f"""
{DECODER}
import os, time

def slow_fsync(descriptor):
    time.sleep(0.01)
    fsync(descriptor)

fsync, os.fsync = os.fsync, slow_fsync
"""
"""A slow disk, and a decoder that can be slow, so that instants taken at random fall into every phase."""


@dataclass(frozen=True)
class Scenario:
    """A job before a run, and after an undisturbed one.

    Attributes:
        before: folder of the job before the run. Do not change it.
        after: folder of the job after the run. Do not change it.
        arguments: of the run.
        network: of the job.
    """

    before: Path
    after: Path
    arguments: tuple[str, ...]
    network: Path

    def job(self, folder: Path) -> JobFolder:
        """Make the job in a new folder, as it is before the run."""
        shutil.copytree(self.before, folder)
        return JobFolder(folder, self.network)

    def steps(self, folder: Path) -> list[str]:
        """Return the steps in which a run changes the output directory."""
        job = self.job(folder)
        assert job.run(*self.arguments, faults=in_steps(job)).code in (0, 3)
        return (folder / "steps").read_text().splitlines()

    def assert_completes(self, job: JobFolder) -> None:
        """Check that the same command completes a job of which a run was killed."""
        if (job.out / HOME).exists():
            assert {problem.kind for problem in check(job.out).problems} <= {"switch", *self.allowed}
            paths = [row["path"] for row in read_rows(job.out)]
            assert len(paths) == len(set(paths))
        assert job.run(*self.arguments).code in (0, 3)
        undisturbed = JobFolder(self.after, self.network)
        assert_same_rows(job.out, undisturbed.out)
        assert timeless(job) == timeless(undisturbed)
        assert job.failures() == undisturbed.failures()
        assert_clean(job.out)
        assert check(job.out).problems == []

    @property
    def allowed(self) -> set[str]:
        """Return what a check may find after a kill, beside a switch that was cut off: rows being dropped."""
        return {"missing"} if "--now" in self.arguments else set()


def in_steps(job: JobFolder, die_at: int | None = None) -> str:
    """Return the fault `STEPS` for a job."""
    return STEPS.format(out=str(job.out), die_at=die_at, log=str(job.folder / "steps"))


def timeless(job: JobFolder) -> list[dict[str, Any]]:
    """Return the ledger without the times of commitment, and so without checksums."""
    return [{**record, "committed_at": None, "sha256": None} for record in records(job.out)]


def nothing_done(job: JobFolder) -> tuple[str, ...]:
    """Five sources in three chunks, one of them bad."""
    job.add(*numbered(5))
    job.add_bad("0003.jpg")
    return ()


def changes(job: JobFolder) -> tuple[str, ...]:
    """Three chunks are done: in one a source has changed, in one a source has disappeared; one is new."""
    job.add(*numbered(6))
    job.run().expect(0)
    job.change("0002.jpg")
    (job.images / "0005.jpg").unlink()
    job.add("0006.jpg")
    return ("--prune",)


def own_files(job: JobFolder) -> tuple[str, ...]:
    """In one chunk, whose sources have files of their own, one has changed and one has disappeared."""
    job.write(chunk_items=3, writer="[{kind: parquet, path: out, fields: [features]}, {kind: npy}]")
    job.add("a/0000.jpg", "b/0001.jpg", "0002.jpg")
    job.run().expect(0)
    job.change("0002.jpg")
    (job.images / "a/0000.jpg").unlink()
    return ("--prune",)


def times_only(job: JobFolder) -> tuple[str, ...]:
    """Three chunks are done; in one the time of a source has changed, so that its shard will be the same."""
    job.add(*numbered(6))
    job.run().expect(0)
    path = job.images / "0002.jpg"
    path.touch()
    return ()


def fresh(job: JobFolder) -> tuple[str, ...]:
    """Three chunks are done, with other fields; there are sources for two now."""
    job.add(*numbered(5))
    job.run("--set", "writer.fields=[logits]").expect(0)
    (job.images / "0004.jpg").unlink()
    return ("--fresh",)


def fresh_now(job: JobFolder) -> tuple[str, ...]:
    """The same, and the old rows are dropped first."""
    return (*fresh(job), "--now")


def divided(job: JobFolder) -> tuple[str, ...]:
    """Nothing is done, and the run is a division of the job."""
    job.add(*numbered(5))
    return ("--divide", "1/1")


def slow(job: JobFolder) -> tuple[str, ...]:
    """Thirty sources that take a while, of which one is bad, in ten chunks; one has changed since."""
    job.write(batch_size=2, chunk_items=3, workers=2)
    job.add(*numbered(5))
    job.run().expect(0)
    job.add(*numbered(25, start=5), comment="0.02")
    job.add_bad("0011.jpg")
    job.change("0001.jpg")
    return ()


Prepare = Callable[[JobFolder], tuple[str, ...]]
MakeScenario = Callable[[Prepare], Scenario]


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory, network: Path) -> MakeScenario:
    """Make the scenario that a function prepares, once."""

    @cache
    def make(prepare: Prepare) -> Scenario:
        folder = tmp_path_factory.mktemp(prepare.__name__)
        (folder / "before").mkdir()
        arguments = prepare(JobFolder(folder / "before", network))
        shutil.copytree(folder / "before", folder / "after")
        after = JobFolder(folder / "after", network)
        assert after.run(*arguments).code in (0, 3)
        return Scenario(folder / "before", folder / "after", arguments, network)

    return make


def kill_at(scenario: Scenario, folder: Path, number: int, step: str) -> None:
    """Check that a run that dies before a step is completed by the same command."""
    job = scenario.job(folder)
    job.run(*scenario.arguments, faults=in_steps(job, die_at=number)).expect(-signal.SIGKILL)
    try:
        scenario.assert_completes(job)
    except AssertionError as error:
        raise AssertionError(f"after a kill before step {number}, {step}: {error}") from error


@pytest.mark.parametrize(
    ("prepare", "chosen"),
    [
        (nothing_done, "(open|rename).*000001|fsync.*run.json.tmp"),
        (changes, "(open|rename).*000001"),
        (own_files, "(os.remove|rename to) /npy/"),
        (fresh, "rename to /(part-|_resnet_pipe/(switch|fingerprint|ledger/0))|os.remove /(part|.*switch)"),
        (fresh_now, "os.remove.*000001|rename.*fingerprint.json"),
    ],
    ids=["new sources", "changed sources", "files of single sources", "--fresh", "--fresh --now"],
)
def test_a_run_killed_at_a_step_that_matters_is_completed_by_the_same_command(
    scenario: MakeScenario, tmp_path: Path, prepare: Prepare, chosen: str
) -> None:
    steps = scenario(prepare).steps(tmp_path / "steps")
    numbers = [number for number, step in enumerate(steps, 1) if re.match(chosen, step)]
    assert len(numbers) >= 3
    for number in numbers:
        kill_at(scenario(prepare), tmp_path / str(number), number, steps[number - 1])


@pytest.mark.slow
@pytest.mark.parametrize("prepare", [nothing_done, changes, own_files, times_only, fresh, fresh_now, divided])
def test_a_run_killed_at_any_step_at_all_is_completed_by_the_same_command(
    scenario: MakeScenario, tmp_path: Path, prepare: Prepare
) -> None:
    for number, step in enumerate(scenario(prepare).steps(tmp_path / "steps"), 1):
        kill_at(scenario(prepare), tmp_path / str(number), number, step)


Halfway = Callable[[Prepare], tuple[JobFolder, Path]]


@pytest.fixture(scope="module")
def died_halfway(
    scenario: MakeScenario, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Prepare], JobFolder]:
    """Make a job whose run died after its second pending record was written, once. Do not change it."""

    @cache
    def make(prepare: Prepare) -> JobFolder:
        folder = tmp_path_factory.mktemp("halfway")
        steps = scenario(prepare).steps(folder / "steps")
        number = steps.index("fsync /_resnet_pipe/ledger/.000001.json.tmp")
        job = scenario(prepare).job(folder / "job")
        job.run(faults=in_steps(job, die_at=number + 1)).expect(-signal.SIGKILL)
        return job

    return make


@pytest.fixture
def halfway(died_halfway: Callable[[Prepare], JobFolder], network: Path, tmp_path: Path) -> Halfway:
    """Make a job whose run died after its second pending record was written; give it with that record."""

    def make(prepare: Prepare) -> tuple[JobFolder, Path]:
        shutil.copytree(died_halfway(prepare).folder, tmp_path / "job")
        job = JobFolder(tmp_path / "job", network)
        return job, job.out / HOME / "ledger" / ".000001.json.tmp"

    return make


def cut_off(data: bytes) -> bytes:
    return data[: len(data) // 2]


def of_zeros(data: bytes) -> bytes:
    return bytes(len(data))


def with_another_digit(data: bytes) -> bytes:
    return data.replace(b'"rows": 1', b'"rows": 2', 1)


@pytest.mark.parametrize("tear", [lambda _: b"", cut_off, of_zeros, with_another_digit])
def test_a_record_that_a_power_cut_has_torn_is_dropped_with_its_shard(
    scenario: MakeScenario, halfway: Halfway, tear: Callable[[bytes], bytes]
) -> None:
    job, pending = halfway(nothing_done)
    data = pending.read_bytes()
    assert tear(data) != data
    pending.write_bytes(tear(data))
    scenario(nothing_done).assert_completes(job)


REFUSED_ONCE = """
import errno, os, pathlib

def refuse_once(path):
    mark = pathlib.Path({mark!r})
    if not mark.exists():
        mark.touch()
        raise OSError(errno.EIO, "Input/output error", str(path))

def replace(source, target, *, replace=os.replace):
    if "part-000000" in str(target) and {at!r} == "rename":
        refuse_once(target)
    replace(source, target)

def fsync(descriptor, *, fsync=os.fsync):
    path = os.readlink(f"/proc/self/fd/{{descriptor}}")
    if path.endswith("/ledger") and {at!r} == "fsync":
        refuse_once(path)
    fsync(descriptor)

os.replace, os.fsync = replace, fsync
"""


@pytest.mark.parametrize("at", ["rename", "fsync"])
def test_a_disk_that_refuses_a_commit_once_leaves_no_old_row_that_counts_as_new(
    done: JobFolder, at: str
) -> None:
    done.change("0000.jpg")
    faults = REFUSED_ONCE.format(mark=str(done.folder / "refused"), at=at)
    assert "Input/output error" in done.run(faults=faults).expect(1).stderr
    done.run().expect(0)
    assert_same_rows(done.out, done.undisturbed())
    assert_clean(done.out)
    command("check", str(done.out)).expect(0)


def test_a_pending_record_whose_files_are_lost_is_given_up_and_its_sources_are_new(
    scenario: MakeScenario, halfway: Halfway
) -> None:
    job, _ = halfway(changes)
    shutil.rmtree(job.out / "_resnet_pipe" / "staging")
    job.run("--prune").expect(0)
    undisturbed = read_rows(scenario(changes).after / "out")
    assert sorted(job.rows(), key=itemgetter("path")) == sorted(undisturbed, key=itemgetter("path"))
    assert_clean(job.out)
    command("check", str(job.out)).expect(0)


def make_newer(pending: Path) -> None:
    pending.write_bytes(pending.read_bytes().replace(b'"schema_version": 2', b'"schema_version": 99', 1))


def make_unreadable(pending: Path) -> None:
    pending.unlink()
    pending.mkdir()  # the tests may be root, whom no permission stops


@pytest.mark.parametrize(
    ("spoil", "word"), [(make_newer, "a newer resnet-pipe"), (make_unreadable, "unreadable")]
)
@pytest.mark.parametrize("arguments", [(), ("--fresh",)], ids=["", "--fresh"])
def test_a_pending_record_that_cannot_be_read_is_an_error_that_changes_nothing(
    scenario: MakeScenario,
    halfway: Halfway,
    spoil: Callable[[Path], None],
    word: str,
    arguments: tuple[str, ...],
) -> None:
    job, pending = halfway(nothing_done)
    data, before = pending.read_bytes(), contents(job)
    spoil(pending)
    said = job.run(*arguments).expect(1).stderr
    assert word in said
    assert str(pending) in said
    if pending.is_dir():
        pending.rmdir()
    pending.write_bytes(data)
    assert contents(job) == before
    scenario(nothing_done).assert_completes(job)


def contents(job: JobFolder) -> dict[Path, bytes]:
    """Return every file of the output directory that is not about single runs."""
    return {
        path: path.read_bytes()
        for path in job.out.rglob("*")
        if path.is_file() and "runs" not in path.parts and "lock" not in path.name and path.suffix != ".prom"
    }


@pytest.fixture(scope="module")
def seconds(scenario: MakeScenario, tmp_path_factory: pytest.TempPathFactory) -> float:
    """How long a run of the scenario `slow` takes."""
    job = scenario(slow).job(tmp_path_factory.mktemp("seconds") / "job")
    started = time.monotonic()
    job.run(faults=SLOW).expect(3)
    return time.monotonic() - started


@pytest.mark.parametrize(
    "seed", [*range(5), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(5, 60))]
)
def test_runs_killed_at_random_instants_are_completed_by_the_same_command(
    scenario: MakeScenario, tmp_path: Path, seconds: float, seed: int
) -> None:
    instants = random.Random(seed)
    job = scenario(slow).job(tmp_path / "job")
    for _ in range(instants.randint(1, 3)):
        with job.start(faults=SLOW) as run:
            time.sleep(instants.uniform(0, seconds))
            run.signal_group(signal.SIGKILL)
            run.end()
    scenario(slow).assert_completes(job)
