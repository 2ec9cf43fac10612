"""An engine that hangs, in a forward pass or while it loads, ends the run; one that is stopped does not."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest
from PIL import Image

from resnet_pipe.cli import display
from resnet_pipe.run.engines import remote_engine
from resnet_pipe.run.engines.remote_engine import Pace
from tests.photographs import encode
from tests.run.faults import ENGINE, GATE, Gate
from tests.run.jobs import JobFolder, assert_clean, assert_same_rows, numbered

HANG = "ctypes.PyDLL(None).pause()  # in C, with the lock of the interpreter held"
ON_WHITE = f"""
{ENGINE}
import ctypes

def before_forward(blob):
    if blob.min(axis=(1, 2, 3)).max() > 2:  # an image of which every pixel is white
        """
HANGS = ON_WHITE + HANG
WAITS = ON_WHITE + "wait_at('gate')"

HANGS_WHILE_LOADING = f"""
{GATE}
if "resnet_pipe.run.engines.engine_process" in sys.orig_argv:
    import ctypes
    import cv2

    def hang(*_):
        (FOLDER / "gate.reached").touch()
        {HANG}

    cv2.dnn.readNetFromONNX = hang
"""


def add_white(job: JobFolder, *names: str) -> None:
    for name in names:
        (job.images / name).write_bytes(encode(Image.new("RGB", (64, 48), "white"), "JPEG"))


def test_a_forward_pass_that_hangs_ends_the_run_and_what_is_committed_stays(job: JobFolder) -> None:
    job.write(infer="timeout_s: 3, streams: 1")  # of two, the other one's answer may be held up as well
    job.add(*numbered(9))
    add_white(job, "0005.jpg")
    said = job.run(children=HANGS).expect(1).stderr
    assert re.search(
        r"^error: the engine hangs: cpu has not answered a batch of 2 for [34] s,"
        r" longer than infer.timeout_s .*\n  what to do: committed results are kept: run the same command",
        said,
        re.MULTILINE,
    ), said
    assert "resnet-pipe doctor engines" in said
    assert job.paths() == numbered(4)
    assert job.summary()["exit_code"] == 1
    assert_clean(job.out)
    job.run().expect(0)
    assert_same_rows(job.out, job.undisturbed())


def test_an_engine_process_that_is_killed_ends_the_run(job: JobFolder) -> None:
    job.add(*numbered(2))
    add_white(job, "0002.jpg")
    with job.start(faults=WAITS) as run:
        Gate(job).wait()
        (engine,) = run.engines()
        os.kill(engine, signal.SIGKILL)
        said = run.end().expect(1).stderr
    assert "error: the engine process of device cpu was killed by SIGKILL (out of memory?)" in said
    assert_clean(job.out)


def test_of_several_devices_the_one_that_hangs_is_named(job: JobFolder) -> None:
    job.write(infer="timeout_s: 1")
    add_white(job, "0000.jpg")
    said = job.run("--set", "infer.device=[cpu, cpu]", children=HANGS).expect(1).stderr
    assert re.search(r"the engine hangs: device [01] \(cpu\) has not answered a batch of 1 for", said)


def test_a_batch_that_takes_far_longer_than_the_first_ones_ends_the_run(
    job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.write(infer="streams: 1", chunk_items=4)
    job.add(*numbered(10))
    add_white(job, *numbered(2, start=10))
    monkeypatch.setattr(remote_engine, "_LEAST_S", 2)
    monkeypatch.setattr(remote_engine, "_FACTOR", 1)
    said = job.run(children=HANGS).expect(1).stderr
    assert re.search(
        r"a batch of 2 for \d+ s, while none of the first 5 of this size took longer than ", said
    )
    assert job.paths() == numbered(8)


@pytest.mark.parametrize("seen", [0, 2])
def test_a_source_counts_as_done_when_the_engine_has_seen_it(
    job: JobFolder, monkeypatch: pytest.MonkeyPatch, seen: int
) -> None:
    job.write(infer="timeout_s: 2, streams: 1", chunk_items=4)
    job.add(*numbered(seen))
    add_white(job, *numbered(4 - seen, start=seen))
    monkeypatch.setattr(display, "LINE_EVERY_S", 0.1)
    said = job.run(children=HANGS).expect(1).stderr
    lines = [line for line in said.splitlines() if " sources, " in line]
    assert lines[-1].startswith(f"{seen}/4 sources, ")
    assert "about 0 s left" not in lines[-1]


@pytest.mark.parametrize(
    ("number", "count", "code"), [(signal.SIGTERM, 1, 143), (signal.SIGTERM, 3, 143), (signal.SIGINT, 3, 130)]
)
def test_signals_end_a_run_whose_network_does_not_load(
    job: JobFolder, number: signal.Signals, count: int, code: int
) -> None:
    job.add(*numbered(3))
    with job.start(faults=HANGS_WHILE_LOADING) as run:
        Gate(job).wait()
        for _ in range(count):
            run.signal(number)
        said = run.end().expect(code).stderr
    assert f"error: {number.name}: stopped while loading the network" in said
    assert job.summary()["exit_code"] == code
    assert_clean(job.out)


def test_a_network_that_does_not_load_ends_the_run(job: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    job.add(*numbered(3))
    monkeypatch.setattr(remote_engine, "LOADING_S", 1)
    said = job.run(children=HANGS_WHILE_LOADING).expect(1).stderr
    assert "error: the network did not load within 1 s on device cpu\n  what to do: " in said


@pytest.mark.parametrize("whole_run", [False, True], ids=["the engine", "all processes"])
def test_an_engine_that_was_stopped_for_longer_than_its_time_limit_is_not_blamed(
    job: JobFolder, whole_run: bool
) -> None:
    job.write(infer="timeout_s: 3")
    job.add(*numbered(3))
    add_white(job, "0003.jpg")
    with job.start(faults=WAITS) as run:
        Gate(job).wait()
        (engine,) = run.engines()
        send = run.signal_group if whole_run else lambda number: os.kill(engine, number)
        send(signal.SIGSTOP)
        time.sleep(4.5)
        send(signal.SIGCONT)
        time.sleep(0.5)  # the run looks at the time before there is an answer
        Gate(job).open()
        run.end().expect(0)
    assert_same_rows(job.out, job.undisturbed())


def test_a_batch_may_take_many_times_what_the_first_of_its_size_took_but_never_less_than_a_minute() -> None:
    pace = Pace(600)
    for seconds in (0.5, 3, 0.1, 0.1):
        pace.note(8, seconds)
        assert pace.limit_s(8) == 600
    pace.note(8, 0.1)
    pace.note(8, 100)
    assert pace.limit_s(8) == 150
    assert pace.limit_s(7) == 600
    for _ in range(5):
        pace.note(7, 0.1)
    assert pace.limit_s(7) == 60
    assert "took longer than 0.1 s" in pace.excess(7)
