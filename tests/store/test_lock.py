"""One run for each output directory; the divisions of one job share it, each once."""

from __future__ import annotations

import fcntl
import re
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import datetime

import pytest

from tests.run.faults import DECODER, GATE, LISTING, Gate
from tests.run.jobs import (
    HOME,
    JobFolder,
    Running,
    assert_clean,
    assert_same_rows,
    numbered,
    read_rows,
    records,
    states,
    wait_until,
)


@pytest.fixture
def waiting(job: JobFolder) -> JobFolder:
    """A job of eight images, at each of which a run with the fault `DECODER` waits for the gate."""
    job.add(*numbered(8), comment="gate")
    return job


@pytest.fixture
def holder(waiting: JobFolder) -> Iterator[Running]:
    """A run that holds the output directory of `waiting`."""
    with waiting.start(faults=DECODER) as run:
        Gate(waiting).wait()
        yield run


@pytest.fixture
def holder_of_a_division(waiting: JobFolder) -> Iterator[Running]:
    """A run that holds division 1 of 3 of `waiting`."""
    with waiting.start("--divide", "1/3", faults=DECODER) as run:
        Gate(waiting).wait()
        yield run


def test_a_second_run_ends_at_once_and_names_the_process_and_when_it_started(
    waiting: JobFolder, holder: Running
) -> None:
    said = waiting.run().expect(11).stderr
    assert f"process {holder.pid}, started at " in said
    assert "what to do" in said
    (started_at,) = re.findall(r"started at (\S+)", said)
    (event,) = waiting.events("run_started")
    difference = datetime.fromisoformat(started_at) - datetime.fromisoformat(event["time"])
    assert abs(difference.total_seconds()) < 60


def test_a_second_run_changes_nothing_and_the_first_one_goes_on(waiting: JobFolder, holder: Running) -> None:
    before = sorted(waiting.out.rglob("*"))
    waiting.run("--fresh").expect(11)
    waiting.run("--divide", "1/2").expect(11)
    assert sorted(waiting.out.rglob("*")) == before
    Gate(waiting).open()
    holder.end().expect(0)
    assert_same_rows(waiting.out, waiting.undisturbed())


def test_a_run_that_is_killed_frees_the_lock(waiting: JobFolder, holder: Running) -> None:
    holder.signal(signal.SIGKILL)
    holder.process.wait()
    waiting.run().expect(0)
    assert_same_rows(waiting.out, waiting.undisturbed())


def test_while_a_division_runs_the_same_one_those_of_another_n_and_the_whole_job_are_refused(
    waiting: JobFolder, holder_of_a_division: Running
) -> None:
    for arguments in (["--divide", "1/3"], ["--divide", "1/2"], ["--divide", "2/4"], []):
        said = waiting.start(*arguments).end().expect(11).stderr
        assert f"process {holder_of_a_division.pid}, started at " in said, arguments
    assert records(waiting.out) == []


IN_A_COMMIT = f"""
{GATE}
import os
replace = os.replace

def replace_shards_later(old, new, **options):
    if str(new).endswith(".parquet"):
        wait_at("gate")
    replace(old, new, **options)

os.replace = replace_shards_later
"""


def test_while_a_division_commits_the_others_leave_its_unfinished_files_alone(job: JobFolder) -> None:
    job.add(*numbered(12))
    with job.start("--divide", "1/3", faults=IN_A_COMMIT) as run:
        Gate(job).wait()
        for division in ("2/3", "3/3"):
            job.run("--divide", division).expect(0)
        Gate(job).open()
        run.end().expect(0)
    assert sorted(job.paths()) == numbered(12)
    assert_clean(job.out)


@pytest.mark.parametrize("arguments", [[], ["--divide", "1/2"]])
def test_what_a_division_that_was_killed_leaves_is_cleared_by_those_of_another_n(
    job: JobFolder, arguments: list[str]
) -> None:
    job.add(*numbered(12))
    with job.start("--divide", "1/3", faults=IN_A_COMMIT) as run:
        Gate(job).wait()
        run.signal(signal.SIGKILL)
    assert list(job.out.rglob(".*tmp"))
    job.run(*arguments).expect(0)
    assert_clean(job.out)


def test_divisions_that_run_at_the_same_time_process_every_source_exactly_once(job: JobFolder) -> None:
    job.add(*numbered(23))
    job.add_bad("0005.jpg", "0017.jpg")
    with ExitStack() as stack:
        divisions = [stack.enter_context(job.start("--divide", f"{division}/3")) for division in (1, 2, 3)]
        assert {run.end().code for run in divisions} == {0, 3}
    assert source_counts(job) == dict.fromkeys(numbered(23), 1)
    assert {path.name.split("-")[1] for path in job.out.glob("part-*")} == {"1of3", "2of3", "3of3"}
    assert_clean(job.out)
    job.run().expect(0)
    assert job.summary()["sources"]["skipped"] == 23
    assert sorted(job.failures()) == ["0005.jpg", "0017.jpg"]
    whole = job.folder / "whole"
    job.run("--set", f"writer.path={whole}").expect(3)
    assert sorted(job.rows(), key=lambda row: str(row["path"])) == read_rows(whole)


AFTER_THE_LEDGER_WAS_READ = f"""
{GATE}
import os
replace = os.replace

def replace_failures_later(old, new, **options):
    if str(new).endswith("failures.jsonl"):
        wait_at("gate")
    replace(old, new, **options)

os.replace = replace_failures_later
"""


def test_a_division_that_ends_late_takes_no_failure_of_another_part_away(job: JobFolder) -> None:
    job.add(*numbered(20), comment="gate-decoder")
    job.add_bad(*numbered(20, start=20))
    with ExitStack() as stack:
        other = stack.enter_context(job.start("--divide", "2/2", faults=DECODER))
        Gate(job, "gate-decoder").wait()
        late = stack.enter_context(job.start("--divide", "1/2", faults=AFTER_THE_LEDGER_WAS_READ))
        Gate(job).wait()
        Gate(job, "gate-decoder").open()
        wait_until(lambda: sum(source_counts(job).values()) == 40, "the other one has committed everything")
        with suppress(AssertionError):
            wait_until(lambda: other.process.poll() is not None, "it ends, if it need not wait", patience_s=1)
        Gate(job).open()
        late.end().expect(3)
        other.end().expect(3)
    assert sorted(job.failures()) == numbered(20, start=20)


def test_divisions_of_different_jobs_that_begin_at_the_same_time_are_not_mixed(job: JobFolder) -> None:
    job.add(*numbered(6), "slow/0006.jpg")
    with job.start("--divide", "1/2", faults=LISTING) as run:
        Gate(job).wait()
        job.run("--divide", "2/2", "--set", "writer.fields=[logits]").expect(0)
        before = states(job.out)
        Gate(job).open()
        assert "writer.fields" in run.end().expect(2).stderr
    assert before
    assert states(job.out) == before


def test_after_some_divisions_those_of_another_n_process_what_is_left(job: JobFolder) -> None:
    job.add(*numbered(12))
    for division in ("2/2", "1/3", "2/3", "3/3"):
        job.run("--divide", division).expect(0)
    assert source_counts(job) == dict.fromkeys(numbered(12), 1)
    assert_clean(job.out)


def test_divisions_that_look_at_the_same_time_for_those_of_another_n_do_not_refuse_each_other(
    job: JobFolder,
) -> None:
    job.add(*numbered(3))
    job.run("--divide", "1/2").expect(0)
    with (job.out / HOME / "lock-1-of-2").open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # as another division does while it looks
        job.run("--divide", "1/3").expect(0)


@pytest.mark.parametrize("first", ["1/2", "2/2"])
def test_a_lost_file_of_a_source_is_made_again_by_one_division_alone(job: JobFolder, first: str) -> None:
    job.write(writer="[{kind: parquet, path: out, fields: [features]}, {kind: npy}]")
    job.add(*numbered(8))
    job.run().expect(0)
    (job.out / "npy" / "0001.jpg.npy").unlink()
    for division in (first, "1/2", "2/2"):
        job.run("--divide", division).expect(0)
    assert source_counts(job) == dict.fromkeys(numbered(8), 1)
    assert (job.out / "npy" / "0001.jpg.npy").exists()
    assert_clean(job.out)


def test_fresh_needs_the_directory_for_itself(job: JobFolder) -> None:
    job.add("0000.jpg")
    assert "--divide" in job.run("--fresh", "--divide", "1/2").expect(2).stderr
    assert not job.out.exists()


def test_shard_is_the_same_as_divide(job: JobFolder) -> None:
    job.add(*numbered(12))
    job.run("--shard", "1/2").expect(0)
    job.run("--divide", "2/2").expect(0)
    assert source_counts(job) == dict.fromkeys(numbered(12), 1)
    assert {record["chunk"].partition("-")[0] for record in records(job.out)} == {"1of2", "2of2"}


@pytest.mark.parametrize("division", ["0/2", "3/2", "1", "1/0", "a/b", "-1/2"])
def test_a_division_that_does_not_exist_is_refused(job: JobFolder, division: str) -> None:
    job.add("0000.jpg")
    assert "I/N" in job.run("--divide", division).expect(2).stderr


def source_counts(job: JobFolder) -> Counter[str]:
    """Return how often each source stands in the ledger."""
    return Counter(source["key"] for record in records(job.out) for source in record["sources"])
