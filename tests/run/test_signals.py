"""A run that is asked to stop, or is killed, leaves a consistent directory and nothing else."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.run.faults import DECODER, ENGINE, LISTING, Gate
from tests.run.jobs import (
    HOME,
    JobFolder,
    Running,
    assert_clean,
    assert_same_rows,
    numbered,
    records,
    wait_until,
)

SIGINT, SIGTERM, SIGKILL = signal.SIGINT, signal.SIGTERM, signal.SIGKILL
CODES = {SIGINT: 130, SIGTERM: 143}


def start_with_chunk_in_flight(job: JobFolder, comment: str, faults: str = DECODER) -> Running:
    """Start a run of eight images, and return when chunk 0 is committed and a worker is on 0002.jpg.

    Args:
        job: without images.
        comment: of 0002.jpg: what the decoder does there.
        faults: of the run.
    """
    job.add(*numbered(2))
    job.add("0002.jpg", comment=comment)
    job.add(*numbered(3, start=3))
    job.add("0006.jpg", comment="hang")
    job.add("0007.jpg")
    run = job.start(faults=faults)
    Gate(job, comment).wait()
    wait_until(lambda: len(records(job.out)) == 1, "the first chunk is committed")
    return run


def assert_the_same_command_completes(job: JobFolder) -> None:
    assert_clean(job.out)
    job.run().expect(0)
    assert_same_rows(job.out, job.undisturbed())
    assert_clean(job.out)


def test_a_ctrl_c_while_the_program_is_being_loaded_ends_it_quietly(job: JobFolder) -> None:
    interrupts = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for `tests &`\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'click':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
    )
    job.add("a.jpg")
    said = job.run(faults=interrupts).expect(130)
    assert (said.stdout, said.stderr) == ("", "")
    assert not job.out.exists()


@pytest.mark.parametrize("number", CODES, ids=["SIGINT", "SIGTERM"])
def test_the_first_signal_finishes_the_chunk_in_flight_and_commits_it(
    job: JobFolder, number: signal.Signals
) -> None:
    job.write(run="grace_s: 600")
    with start_with_chunk_in_flight(job, "gate") as run:
        run.signal_group(number)  # as Ctrl-C and systemd do: workers must not be hit
        wait_until(lambda: job.events("note"), "the run has seen the signal")
        Gate(job).open()
        said = run.end().expect(CODES[number]).stderr
    assert f"{number.name}: finishing the chunk in flight, at most 600 s" in said
    done = job.paths()
    assert done[:4] == numbered(4)
    assert "0006.jpg" not in done
    assert job.failures() == {}
    assert job.summary()["exit_code"] == CODES[number]
    assert_the_same_command_completes(job)


def test_a_chunk_that_takes_longer_than_grace_s_is_dropped(job: JobFolder) -> None:
    job.write(run="grace_s: 0.3")
    with start_with_chunk_in_flight(job, "hang") as run:
        run.signal(SIGTERM)
        said = run.end().expect(143).stderr
    assert "the chunk in flight is dropped" in said
    assert job.paths() == numbered(2)
    assert_the_same_command_completes(job)


@pytest.mark.parametrize("second", [SIGTERM, SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_second_signal_ends_the_run_at_once(job: JobFolder, second: signal.Signals) -> None:
    with start_with_chunk_in_flight(job, "hang") as run:
        run.signal(SIGINT)
        wait_until(lambda: job.events("note"), "the run has seen the first signal")
        run.signal(second)
        said = run.end().expect(130).stderr
    assert "stopping at once" in said
    assert job.paths() == numbered(2)
    assert_the_same_command_completes(job)


ENGINE_HANGS = f"""
{ENGINE}
def before_forward(blob):
    wait_at("gate")
"""


def test_a_second_signal_ends_the_run_even_if_the_engine_hangs(job: JobFolder) -> None:
    job.add(*numbered(3))
    with job.start(faults=ENGINE_HANGS) as run:
        Gate(job).wait()
        run.signal(SIGTERM)
        wait_until(lambda: job.events("note"), "the run has seen the first signal")
        run.signal(SIGINT)
        run.end().expect(143)
    assert job.summary()["exit_code"] == 143
    assert_the_same_command_completes(job)


def test_a_signal_while_sources_are_listed_ends_the_run_before_it_has_begun(job: JobFolder) -> None:
    job.add("0000.jpg", "slow/0001.jpg", "zz.jpg")
    with job.start(faults=LISTING) as run:
        Gate(job).wait()
        run.signal(SIGTERM)
        Gate(job).open()
        run.end().expect(143)
    assert job.events("planned") == []
    assert job.summary()["exit_code"] == 143
    assert_the_same_command_completes(job)


def test_a_run_that_is_killed_takes_its_workers_with_it_even_those_that_hang(job: JobFolder) -> None:
    with start_with_chunk_in_flight(job, "hang") as run:
        assert run.workers()
        run.signal(SIGKILL)
        run.end().expect(-9)
    assert_the_same_command_completes(job)


WORKER_IS_SLOW_TO_START = f"""
{DECODER}
if IN_WORKER:
    wait_at("gate")
"""


def test_a_signal_while_workers_start_ends_the_run_before_it_has_begun(job: JobFolder) -> None:
    job.add("0000.jpg")
    with job.start(faults=WORKER_IS_SLOW_TO_START) as run:
        Gate(job).wait()
        run.signal(SIGTERM)
        run.end().expect(143)
    assert not (job.out / HOME / "fingerprint.json").exists()
    assert_the_same_command_completes(job)


def test_a_worker_that_starts_while_its_run_is_killed_ends_as_well(job: JobFolder) -> None:
    job.add("0000.jpg", comment="hang")
    with job.start(faults=WORKER_IS_SLOW_TO_START) as run:
        Gate(job).wait()
        time.sleep(0.5)  # the run waits until the worker is ready
        run.signal(SIGKILL)
        Gate(job).open()
        run.end().expect(-9)


def test_shared_memory_has_no_name_that_could_outlive_the_run(job: JobFolder) -> None:
    with start_with_chunk_in_flight(job, "gate") as run:
        for pid in (run.pid, *run.workers()):
            maps = Path(f"/proc/{pid}/maps").read_text()
            assert "/memfd:resnet-pipe (deleted)" in maps
            assert "/dev/shm" not in maps  # noqa: S108
