"""Results are never given up before their replacement exists; nothing is touched before a run is proved."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.run.faults import DECODER, FEW_ENGINES, GATE, Gate
from tests.run.jobs import HOME, JobFolder, assert_clean, numbered, states, wait_until

NO_NETWORK = f"""
{FEW_ENGINES}
import cv2

def refuse(*arguments):
    raise cv2.error("this network is not to be loaded")

cv2.dnn.readNetFromONNX = refuse
"""
BROKEN_NETWORK = f"""
{FEW_ENGINES}
import cv2

readNetFromONNX = cv2.dnn.readNetFromONNX

class Net:
    def __init__(self, *arguments):
        self.net = readNetFromONNX(*arguments)

    def __getattr__(self, name):
        return getattr(self.net, name)

    def forward(self, names):
        raise cv2.error("the first forward pass fails")

cv2.dnn.readNetFromONNX = Net
"""
NO_ROOM = """
import os, shutil

def disk_usage(path, usage=shutil.disk_usage):
    return usage(path)._replace(free=100)

shutil.disk_usage = disk_usage
"""
NO_SHARED_MEMORY = """
import errno, os

def posix_fallocate(*_):
    raise OSError(errno.ENOSPC, "No space left on device")

os.posix_fallocate = posix_fallocate
"""
BROKEN_WORKERS = f"""
{GATE}
if IN_WORKER:
    sys.modules["simplejpeg"] = None
"""
REFUSALS: dict[str, tuple[tuple[str, ...], dict[str, Any], int | None]] = {
    "device": (("--set", "infer.device=cuda"), {}, 2),
    "network": ((), {"children": NO_NETWORK}, 2),
    "first forward pass": ((), {"children": BROKEN_NETWORK}, None),
    "workers": ((), {"children": BROKEN_WORKERS}, 1),
    "room": ((), {"faults": NO_ROOM}, 1),
    "shared memory": ((), {"faults": NO_SHARED_MEMORY}, 1),
}
LOGITS = ("--set", "writer.fields=[logits]")
"""Rows of another making."""


def results(out: Path) -> dict[str, bytes]:
    """Return everything in an output directory that is not about single runs, by name."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file()
        and "runs" not in path.parts
        and not path.name.startswith("lock")
        and path.suffix != ".prom"
    }


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("mode", [(), ("--fresh",), ("--fresh", "--now")], ids=" ".join)
def test_a_run_that_is_refused_changes_nothing(done: JobFolder, mode: tuple[str, ...], refusal: str) -> None:
    arguments, faults, code = REFUSALS[refusal]
    done.add("0005.jpg")
    before = results(done.out)
    (done.out / "part-000001.parquet").rename(done.folder / "moved")  # even what is lost is not forgotten yet
    lost = results(done.out)
    result = done.run(*mode, *arguments, **faults)
    assert result.code == code if code else result.code in (1, 2)
    assert "what to do" in result.stderr
    assert results(done.out) == lost
    (done.folder / "moved").rename(done.out / "part-000001.parquet")
    done.run().expect(0)
    assert done.paths() == numbered(6)
    assert before.keys() <= results(done.out).keys()
    assert_clean(done.out)


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_first_run_that_is_refused_does_not_decide_about_the_next(job: JobFolder, refusal: str) -> None:
    job.add(*numbered(3))
    arguments, faults, _ = REFUSALS[refusal]
    assert job.run(*arguments, **faults).code in (1, 2)
    assert results(job.out) in ({}, {"failures.jsonl": b""})
    job.run(*LOGITS).expect(0)
    assert_clean(job.out)


@pytest.mark.parametrize("arguments", [(), ("--divide", "1/1")], ids=["", "--divide"])
def test_a_directory_without_committed_chunks_refuses_no_job(
    job: JobFolder, arguments: tuple[str, ...]
) -> None:
    job.add("0000.jpg", comment="gate")
    with job.start(*arguments, faults=DECODER) as run:
        Gate(job).wait()
        assert (job.out / HOME / "fingerprint.json").exists()
        run.signal_group(signal.SIGKILL)
        run.end()
    job.run(*LOGITS, *arguments).expect(0)
    assert "logits" in job.rows()[0]
    assert_clean(job.out)


def kill(job: JobFolder) -> str:
    with job.start("--fresh", *LOGITS, faults=DECODER) as run:
        Gate(job).wait()
        wait_until(lambda: new_chunks(job), "a chunk of the new results is committed")
        run.signal_group(signal.SIGKILL)
        assert run.end().code == -signal.SIGKILL
    return ""


def stop(job: JobFolder) -> str:
    with job.start("--fresh", *LOGITS, faults=DECODER) as run:
        Gate(job).wait()
        wait_until(lambda: new_chunks(job), "a chunk of the new results is committed")
        run.signal(signal.SIGTERM)
        Gate(job).open()
        return run.end().expect(143).stdout


def fail(job: JobFolder) -> str:
    job.add_bad("0005.jpg")
    said = job.run("--fresh", *LOGITS, "--set", "run.max_failures=0").expect(1).stderr
    job.add("0005.jpg")
    return said


def new_chunks(job: JobFolder) -> list[Path]:
    return list((job.out / HOME / "next" / HOME / "ledger").glob("[!.]*.json"))


@pytest.mark.parametrize("end", [kill, stop, fail])
def test_until_the_new_results_are_complete_those_of_before_stand_and_the_same_command_goes_on(
    done: JobFolder, end: Callable[[JobFolder], str]
) -> None:
    (done.images / "0004.jpg").unlink()
    done.add("0004.jpg", comment="gate")
    done.run().expect(0)
    before, old = states(done.out), results(done.out)
    said = end(done)
    assert old.items() <= results(done.out).items()
    assert states(done.out) == before
    if said:
        assert "the old results are intact" in said
        assert "the same command continues" in said
    committed = len(new_chunks(done))
    assert committed
    assert "--fresh continues with them" in done.run().expect(0).stdout
    assert len(new_chunks(done)) == committed
    done.run("--fresh", *LOGITS).expect(0)
    assert done.summary()["sources"]["skipped"] >= 2
    assert "features" not in done.rows()[0]
    assert done.paths()[:5] == numbered(5)
    assert not (done.out / HOME / "next").exists()
    assert_clean(done.out)


def test_new_results_that_another_job_has_begun_are_begun_again(done: JobFolder) -> None:
    done.add_bad("0005.jpg")
    done.run("--fresh", *LOGITS, "--set", "run.max_failures=0").expect(1)
    assert len(new_chunks(done)) == 2
    done.run("--fresh").expect(3)
    assert done.summary()["sources"]["skipped"] == 0
    assert "features" in done.rows()[0]
    assert_clean(done.out)


def test_failures_of_all_runs_of_one_fresh_count_together(job: JobFolder) -> None:
    job.add(*numbered(8))
    job.run().expect(0)
    before = states(job.out)
    for name in ("0000.jpg", "0003.jpg", "0005.jpg", "0006.jpg"):
        job.add_bad(name)
    for _ in range(3):
        job.run("--fresh", "--set", "run.max_failures=2").expect(1)
    assert states(job.out) == before
    job.run("--fresh").expect(3)
    assert len(job.failures()) == 4


def test_what_has_failed_in_new_results_is_not_said_of_the_old_ones(done: JobFolder) -> None:
    done.add_bad("0000.jpg")
    (done.images / "0003.jpg").unlink()
    done.add("0003.jpg", comment="gate")
    with done.start("--fresh", faults=DECODER) as run:
        Gate(done).wait()
        wait_until(lambda: new_chunks(done), "a chunk of the new results is committed")
        run.signal(signal.SIGTERM)
        Gate(done).open()
        said = run.end().expect(143).stdout
    place = done.out / HOME / "next" / "failures.jsonl"
    assert f"failures of the new results: {place}\n" in said
    assert "0000.jpg" in place.read_text()
    assert done.failures() == {}
    done.run("--fresh").expect(0)  # all was made by the run that was stopped
    assert list(done.failures()) == ["0000.jpg"]


NO_ROOM_FOR_THE_FINGERPRINT = """
import errno, os, sys

def refuse(event, arguments):
    if event == "open" and "fingerprint.json" in str(arguments[0]) and arguments[2] & os.O_WRONLY:
        raise OSError(errno.ENOSPC, "No space left on device", str(arguments[0]))

sys.addaudithook(refuse)
"""


def test_fresh_now_drops_nothing_where_nothing_can_be_written(done: JobFolder) -> None:
    before = results(done.out)
    done.run("--fresh", "--now", faults=NO_ROOM_FOR_THE_FINGERPRINT).expect(1)
    assert results(done.out) == before
    done.run().expect(0)
    assert_clean(done.out)


def test_fresh_leaves_out_what_has_disappeared_since_it_was_begun(done: JobFolder) -> None:
    done.add_bad("0005.jpg")
    done.run("--fresh", *LOGITS, "--set", "run.max_failures=0").expect(1)
    (done.images / "0000.jpg").unlink()
    (done.images / "0005.jpg").unlink()
    done.run("--fresh", *LOGITS).expect(0)
    assert done.paths() == numbered(4, start=1)
    assert_clean(done.out)


def test_files_of_single_sources_are_replaced_with_the_rows(job: JobFolder) -> None:
    job.write(writer="[{kind: parquet, path: out, fields: [features]}, {kind: npy}]")
    job.add("a/0000.jpg", "b/0001.jpg", "0002.jpg")
    job.run().expect(0)
    shutil.rmtree(job.images / "a")
    job.change("0002.jpg")
    job.run("--fresh").expect(0)
    assert job.paths() == ["0002.jpg", "b/0001.jpg"]
    assert not (job.out / "npy" / "a").exists()
    assert_clean(job.out)


def test_fresh_now_drops_the_results_before_it_writes_new_ones(done: JobFolder) -> None:
    (done.images / "0004.jpg").unlink()
    done.add("0004.jpg", comment="gate")
    with done.start("--fresh", "--now", *LOGITS, faults=DECODER) as run:
        Gate(done).wait()
        wait_until(lambda: len(states(done.out)) == 2, "the old shards are gone, and two are new")
        assert "features" not in done.rows()[0]
        Gate(done).open()
        run.end().expect(0)
    assert done.paths() == numbered(5)
    assert_clean(done.out)


def test_now_without_fresh_is_a_mistake(done: JobFolder) -> None:
    assert "--fresh" in done.run("--now").expect(2).stderr


IN_THE_SWITCH = f"""
{GATE}
import os

def replace(source, target, *, replace=os.replace):
    replace(source, target)
    if "/next/part-" in str(source):
        os.kill(os.getpid(), 9)

os.replace = replace
"""


def test_a_switch_that_was_cut_off_is_completed_by_whatever_run_comes_next(done: JobFolder) -> None:
    done.run("--fresh", "--set", "infer.batch_size=1", faults=IN_THE_SWITCH).expect(-signal.SIGKILL)
    assert (done.out / HOME / "switch.json").exists()
    said = done.run("--dry-run").expect(2).stderr
    assert "run the job: it first completes the replacement" in said
    done.run().expect(0)
    assert done.summary()["sources"]["skipped"] == 5
    assert done.paths() == numbered(5)
    assert_clean(done.out)
    assert not (done.out / HOME / "switch.json").exists()
