"""A worker process that dies or hangs costs the source it was on, and nothing else."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.run.faults import DECODER, ENGINE, GATE, Gate
from tests.run.jobs import (
    JobFolder,
    assert_clean,
    assert_same_rows,
    jpeg,
    keys,
    numbered,
    read_rows,
    records,
    wait_until,
)

SURPRISE = """
import os
os_open = os.open

def open_(path, *arguments, **options):
    if str(path).endswith("surprise.jpg"):
        raise RuntimeError("nobody foresaw this")
    return os_open(path, *arguments, **options)

os.open = open_
"""
"""Opening a file of a certain name raises what nobody foresaw."""

WORKER_STARTS = f"""
{GATE}
import os
if IN_WORKER:
    with (FOLDER / "starts").open("a") as file:
        file.write(".")
    starts = (FOLDER / "starts").stat().st_size
"""
"""Counts the workers that have been started in `starts`."""


@pytest.fixture(scope="module")
def struck(tmp_path_factory: pytest.TempPathFactory, network: Path) -> JobFolder:
    """A job that has run, in which seven of fourteen sources meet a fault. Do not change it."""
    job = JobFolder(tmp_path_factory.mktemp("struck"), network)
    job.write(batch_size=4, chunk_items=4, workers=2, reader="timeout_s: 2")
    words = ["segfault", "", "", "", "", "hang", "raise", "", "", "exit", "kill", "", ""]
    for number, word in enumerate(words):
        job.add(f"{number:04d}.jpg", comment=word)
    job.add("surprise.jpg")
    job.run(children=DECODER + SURPRISE).expect(3)
    return job


CAUSES = {
    "0000.jpg": ("worker_died", "SIGSEGV"),
    "0005.jpg": ("timeout", "reader.timeout_s (2 s)"),
    "0006.jpg": ("damaged", "a surprise"),
    "0009.jpg": ("worker_died", "exited with status 3"),
    "0010.jpg": ("worker_died", "SIGKILL (out of memory?)"),
    "surprise.jpg": ("RuntimeError", "nobody foresaw this"),
}


@pytest.mark.parametrize("name", CAUSES)
def test_a_source_on_which_its_worker_dies_hangs_or_raises_is_a_failure_with_the_cause(
    struck: JobFolder, name: str
) -> None:
    error, words = CAUSES[name]
    failure = struck.failures()[name]
    assert (failure["stage"], failure["error"]) == ("reader", error)
    assert words in failure["message"]


def test_no_other_source_fails_and_all_others_have_the_rows_of_an_undisturbed_run(struck: JobFolder) -> None:
    assert sorted(struck.failures()) == sorted(CAUSES)
    assert keys(struck.events("source_failed")) == sorted(CAUSES)
    undisturbed = [row for row in read_rows(struck.undisturbed()) if row["path"] not in CAUSES]
    assert struck.rows() == undisturbed
    assert_clean(struck.out)


def test_run_json_counts_the_workers_that_were_replaced(struck: JobFolder) -> None:
    summary = struck.summary()
    assert (summary["workers"], summary["workers_replaced"]) == (2, 8)  # each source is tried twice
    assert summary["sources"] == {"planned": 14, "skipped": 0, "done": 8, "partial": 0, "failed": 6}


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL], ids=["SIGSEGV", "SIGKILL"])
def test_a_worker_killed_from_outside_on_a_source_and_on_its_second_try_costs_that_source(
    job: JobFolder, number: signal.Signals
) -> None:
    job.add(*numbered(2))
    job.add("0002.jpg", comment="gate")
    job.add(*numbered(2, start=3))
    with job.start(faults=DECODER) as run:
        for _ in range(2):
            Gate(job).wait()
            (job.folder / "gate.reached").unlink()
            (worker,) = run.workers()
            os.kill(worker, number)
        run.end().expect(3)
    assert job.paths() == ["0000.jpg", "0001.jpg", "0003.jpg", "0004.jpg"]
    failure = job.failures()["0002.jpg"]
    assert failure["error"] == "worker_died"
    assert number.name in failure["message"]
    assert_clean(job.out)


BUSY_ENGINE = f"""
{ENGINE}
def before_forward(blob):
    wait_at("gate")
"""


def test_a_new_worker_leaves_batches_alone_that_wait_for_the_engine(job: JobFolder) -> None:
    for number in range(16):
        job.add(f"{number:04d}.jpg", comment="kill" if number == 6 else "")
    with job.start(faults=DECODER + WORKER_STARTS + BUSY_ENGINE) as run:
        wait_until(lambda: (job.folder / "starts").exists(), "a worker starts")
        wait_until(lambda: len((job.folder / "starts").read_text()) == 2, "another takes its place")
        time.sleep(1)  # it has had time to fill its slots
        Gate(job).open()
        run.end().expect(3)
    assert job.rows() == [row for row in read_rows(job.undisturbed()) if row["path"] != "0006.jpg"]


def test_a_source_that_cost_workers_is_processed_when_the_next_run_tries_it_again(job: JobFolder) -> None:
    job.add("0000.jpg", "0001.jpg")
    job.add("0002.jpg", comment="kill")
    job.run(children=DECODER).expect(3)
    assert job.paths() == numbered(2)
    job.run().expect(0)
    assert_same_rows(job.out, job.undisturbed())
    assert job.failures() == {}


def test_workers_that_all_die_before_they_read_anything_end_the_run(job: JobFolder) -> None:
    job.add(*numbered(3))
    said = job.run(children=WORKER_STARTS + "    os._exit(7)").expect(1).stderr
    assert "worker processes in a row ended without reading anything" in said
    assert "exited with status 7" in said
    assert "what to do" in said
    assert records(job.out) == []
    assert_clean(job.out)
    job.run().expect(0)
    assert job.paths() == numbered(3)


def test_what_was_committed_before_workers_kept_dying_stays(job: JobFolder) -> None:
    job.add(*numbered(6))
    job.add("0006.jpg", comment="exit")
    job.add(*numbered(5, start=7))
    # Each death takes its time, so that the chunks before are committed on a busy machine too.
    dies = "    if starts > 1: __import__('time').sleep(1); os._exit(7)"
    job.run(children=DECODER + WORKER_STARTS + dies).expect(1)
    assert job.paths() == numbered(6)
    assert_clean(job.out)
    job.run().expect(0)
    assert_same_rows(job.out, job.undisturbed())


def test_a_few_workers_that_die_at_their_start_cost_nothing(job: JobFolder) -> None:
    job.add(*numbered(3))
    job.run(children=WORKER_STARTS + "    if starts <= 3: os._exit(7)").expect(0)
    assert job.summary()["workers_replaced"] == 3
    assert_same_rows(job.out, job.undisturbed())


AFTER_EACH_MESSAGE = f"""
{GATE}
if IN_WORKER:
    import os
    from multiprocessing.connection import Connection
    send = Connection.send

    def send_and_die(self, message):
        send(self, message)
        if type(message).__name__ != "WorkerReady":
            os._exit(7)

    Connection.send = send_and_die
"""


def test_workers_may_die_any_number_of_times_as_long_as_there_is_progress(job: JobFolder) -> None:
    job.write(batch_size=1)
    job.add(*numbered(7))
    job.run(children=AFTER_EACH_MESSAGE).expect(0)
    assert job.summary()["workers_replaced"] >= 6  # the last one need not be
    assert_same_rows(job.out, job.undisturbed())


IN_A_MESSAGE = f"""
{WORKER_STARTS}
    from multiprocessing.connection import Connection

    send = Connection._send

    def send_half_and_die(self, data, *arguments):
        if b"ReadyBatch" not in data:
            return send(self, data, *arguments)
        os.write(self.fileno(), data[: len(data) // 2])
        os._exit(7)

    if starts == 1:
        Connection._send = send_half_and_die
"""


def test_a_worker_that_dies_in_the_middle_of_a_message_costs_nothing(job: JobFolder) -> None:
    job.add(*numbered(2))
    job.run(children=IN_A_MESSAGE).expect(0)
    assert job.summary()["workers_replaced"] == 1
    assert_same_rows(job.out, job.undisturbed())


def test_messages_larger_than_a_sockets_buffer_block_nothing(job: JobFolder) -> None:
    job.write(batch_size=1024, chunk_items=4096)
    folder = job.images / ("d" * 250)
    folder.mkdir()
    (folder / "0000.jpg").write_bytes(jpeg(0))
    for number in range(4 * 1024):
        (folder / f"{number:04d}{'x' * 240}.jpg").hardlink_to(folder / "0000.jpg")
    job.run().expect(0)
    assert job.summary()["sources"]["done"] == 4 * 1024 + 1


def test_a_worker_that_waits_for_room_does_not_hang(job: JobFolder) -> None:
    job.write(batch_size=1, reader="timeout_s: 2")
    job.add(*numbered(8))
    with job.start(faults=BUSY_ENGINE) as run:
        Gate(job).wait()
        time.sleep(2.5)  # longer than reader.timeout_s
        Gate(job).open()
        run.end().expect(0)
    assert job.summary()["workers_replaced"] == 0
