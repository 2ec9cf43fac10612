"""A window of time, room on the disk, pauses and priority: what a run begins, and when."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from resnet_pipe.errors import ExitCode
from resnet_pipe.job.until import moment
from resnet_pipe.reader.source import Source
from resnet_pipe.run.pace import Limits, Pace
from resnet_pipe.run.plan import Chunk, Plan
from resnet_pipe.run.source_table import SourceTable
from tests.run.faults import DECODER, Gate
from tests.run.jobs import HOME, JobFolder, assert_clean, assert_same_rows, numbered, records, wait_until

PAST = "2020-01-01T00:00Z"


def test_after_the_window_nothing_is_begun_and_the_next_run_goes_on(job: JobFolder) -> None:
    job.add(*numbered(6))
    said = job.run("--until", PAST).expect(ExitCode.WINDOW_ENDED)
    assert "the window ended: 6 sources left; the same command continues" in said.stdout
    assert job.paths() == []
    assert job.summary()["remaining"] == 6
    assert job.summary()["exit_code"] == 4
    job.run().expect(0)
    assert job.paths() == numbered(6)
    assert job.summary()["remaining"] == 0


def test_a_run_with_nothing_to_do_does_not_mind_the_window(job: JobFolder) -> None:
    job.add("a.jpg")
    job.run().expect(0)
    job.run("--until", PAST).expect(0)


def test_no_chunk_is_begun_that_would_not_be_committed_in_time(job: JobFolder) -> None:
    """The first chunk takes three seconds. When it is committed, a second is left."""
    job.add("0000.jpg", comment="3")
    job.add(*numbered(5, start=1))
    until = datetime.now(timezone.utc) + timedelta(seconds=600)
    job.write(run=f"until: '{until.isoformat()}'")
    with job.start(faults=f"{DECODER}\n{CLOCK}") as run:
        said = run.end().expect(ExitCode.WINDOW_ENDED)
    assert "the window ended: 4 sources left" in said.stdout
    assert job.paths() == numbered(2)
    assert_clean(job.out)
    job.write()
    job.run().expect(0)
    assert_same_rows(job.out, job.undisturbed())


CLOCK = """
import sys, time
_now = time.time
if not IN_WORKER:
    _begun = None
    def _later():
        # Once anything is committed, the wall clock says that a second is left.
        global _begun
        committed = any((FOLDER / "out" / "_resnet_pipe" / "ledger").glob("*.json"))
        return _now() + (599 if committed else 0)
    time.time = _later
"""


def test_the_old_results_stay_while_the_new_ones_are_not_complete(job: JobFolder) -> None:
    job.add(*numbered(4))
    job.run().expect(0)
    before = job.rows()
    job.run("--fresh", "--until", PAST).expect(ExitCode.WINDOW_ENDED)
    assert job.rows() == before
    job.run("--fresh").expect(0)


def test_a_run_is_paused_while_the_file_exists(job: JobFolder) -> None:
    job.add(*numbered(4))
    job.write(run="pause_file: pause")
    pause = job.folder / "pause"
    pause.touch()
    with job.start() as run:
        wait_until(lambda: is_paused(job), "the run is paused")
        assert paused(job) == "1"
        time.sleep(0.5)
        assert job.paths() == []
        pause.unlink()
        said = run.end().expect(0)
    assert f"paused: nothing is begun while {pause} exists" in said.stderr
    assert "going on" in said.stderr
    assert job.paths() == numbered(4)
    assert paused(job) == "0"


def test_a_pause_lets_what_has_begun_be_committed(job: JobFolder) -> None:
    job.add("0000.jpg", comment="gate")
    job.add(*numbered(39, start=1))
    job.write(run="pause_file: pause")
    with job.start(faults=DECODER) as run:
        Gate(job, "gate").wait()
        (job.folder / "pause").touch()
        Gate(job, "gate").open()
        wait_until(lambda: is_paused(job), "the run is paused")
        wait_until(lambda: bool(records(job.out)), "the chunk in flight is committed")
        run.signal(signal.SIGTERM)
        run.end().expect(143)
    begun = job.paths()
    assert begun == numbered(len(begun))
    assert 2 <= len(begun) < 40
    assert_clean(job.out)


def is_paused(job: JobFolder) -> bool:
    return any(
        '"event": "paused"' in path.read_text() for path in (job.out / HOME / "runs").glob("*/log.jsonl")
    )


def paused(job: JobFolder) -> str:
    lines = (job.out / "metrics.prom").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("resnet_pipe_paused{")]
    return line.split()[-1]


def test_a_disk_that_is_too_full_ends_the_run_before_anything_is_changed(job: JobFolder) -> None:
    job.add(*numbered(2))
    job.write(run="min_free: 1000PiB")
    said = job.run().expect(1).stderr
    assert "iB free, and 1000.0 PiB (run.min_free) stay free; the results of the 2 sources" in said
    assert "what to do: free some space; the same command continues" in said
    assert not (job.out / HOME / "fingerprint.json").exists()
    job.run("--set", "run.min_free=0").expect(0)


def test_the_engine_and_the_workers_get_the_priority(job: JobFolder) -> None:
    job.add("a.jpg", comment="gate")
    job.write(run="nice: 7")
    with job.start(faults=DECODER) as run:
        Gate(job, "gate").wait()
        nice = {os.getpriority(os.PRIO_PROCESS, pid) for pid in (*run.workers(), *run.engines())}
        Gate(job, "gate").open()
        run.end().expect(0)
    assert nice == {max(7, os.getpriority(os.PRIO_PROCESS, 0))}


@pytest.mark.parametrize("value", ["5%", "10 %", "1,5GiB", "50-GiB", "50GiB free", "true", "-1"])
def test_what_is_no_size_is_refused(job: JobFolder, value: str) -> None:
    job.add("a.jpg")
    assert "run.min_free: " in job.run("--set", f"run.min_free={value}").expect(2).stderr
    assert not job.out.exists()


def test_old_results_are_not_dropped_for_what_may_not_begin(job: JobFolder) -> None:
    job.add(*numbered(4))
    job.run().expect(0)
    before = job.rows()
    said = job.run("--fresh", "--now", "--until", "23:59").expect(2).stderr
    assert "what to do: leave out --now" in said
    job.write(run="pause_file: pause")
    (job.folder / "pause").touch()
    with job.start("--fresh", "--now") as run:
        wait_until(lambda: is_paused(job), "the run is paused")
        run.signal(signal.SIGTERM)
        run.end().expect(143)
    assert job.rows() == before


@pytest.mark.parametrize(
    "value", ["6", "25:00", "06:00:99", "2026-12-24", "2026-12-24T06:00", "tomorrow", "2026-12-24 06:00:00"]
)
def test_what_is_no_time_is_refused(job: JobFolder, value: str) -> None:
    job.add("a.jpg")
    said = job.run("--until", value).expect(2).stderr
    assert "run.until: expected a local time such as 06:00, or a moment with its zone" in said
    assert not job.out.exists()


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("now", "until", "expected"),
    [
        ("2026-11-30T23:00+01:00", "06:00", "2026-12-01T06:00+01:00"),
        ("2026-12-01T05:59:59+01:00", "06:00", "2026-12-01T06:00+01:00"),
        ("2026-12-01T06:00+01:00", "06:00", "2026-12-02T06:00+01:00"),
        ("2026-12-01T06:00+01:00", "06:00:30", "2026-12-01T06:00:30+01:00"),
        ("2026-03-28T23:00+01:00", "06:00", "2026-03-29T06:00+02:00"),
        ("2026-03-29T01:00+01:00", "02:30", "2026-03-29T03:30+02:00"),
        ("2026-10-24T23:00+02:00", "06:00", "2026-10-25T06:00+01:00"),
        ("2026-10-25T01:00+02:00", "02:30", "2026-10-25T02:30+02:00"),
        ("2026-10-25T02:45+02:00", "02:30", "2026-10-26T02:30+01:00"),
        ("2026-10-25T01:00+02:00", "2026-10-25T02:30+01:00", "2026-10-25T02:30+01:00"),
        ("2026-10-25T01:00+02:00", "2026-10-25T02:30:00Z", "2026-10-25T02:30+00:00"),
    ],
)
@pytest.mark.usefixtures("berlin")
def test_a_time_of_day_is_the_next_one_on_the_local_clock(now: str, until: str, expected: str) -> None:
    found = moment(until, datetime.fromisoformat(now).timestamp())
    assert found == datetime.fromisoformat(expected).timestamp()


class Clocks:
    """Those of this process, which tests set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.monotonic = 1e9, 1000.0
        monkeypatch.setattr(time, "time", lambda: self.wall)
        monkeypatch.setattr(time, "monotonic", lambda: self.monotonic)

    def go_on(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


def plan(sources: int, per_chunk: int = 2) -> Plan:
    table = SourceTable()
    for index in range(sources):
        table.append(Source(f"{index:04d}.jpg", 100, 1))
    return Plan(found=sources, new=table, per_chunk=per_chunk)


def pace(tmp_path: Path, until: float | None = None, pause_file: Path | None = None) -> Pace:
    limits = Limits(until, tmp_path, 0, pause_file)
    return Pace(limits, lambda _source: 1, lambda sources: sources, lambda _begins: None)


def run(chunks: Iterator[Chunk | None], pace: Pace, clocks: Clocks, seconds: list[float]) -> int:
    """Run chunks one after the other, each in so many seconds; return how many have begun."""
    begun = 0
    for chunk in chunks:
        assert chunk is not None
        clocks.go_on(seconds[begun])
        pace.committed(chunk)
        begun += 1
    return begun


@pytest.mark.parametrize(
    ("left", "seconds", "expected"),
    [
        (100.0, [10.0] * 5, 5),
        (35.0, [10.0] * 5, 3),
        (30.0, [10.0] * 5, 3),
        (29.0, [10.0] * 5, 2),
        (35.0, [20.0, 10.0], 1),  # at 20 s a chunk there is no time for another one
        (41.0, [20.0, 2.0, 2.0, 2.0, 2.0], 5),  # it becomes faster
        (0.5, [10.0], 1),
        (0.0, [], 0),
    ],
)
def test_how_many_chunks_fit(
    tmp_path: Path, clocks: Clocks, left: float, seconds: list[float], expected: int
) -> None:
    limited = pace(tmp_path, clocks.wall + left)
    assert run(limited.chunks(plan(10)), limited, clocks, seconds) == expected
    assert limited.window_ended == (expected < 5)


def test_those_that_have_begun_count(tmp_path: Path, clocks: Clocks) -> None:
    limited = pace(tmp_path, clocks.wall + 25)
    chunks = limited.chunks(plan(10))
    first = next(chunks)
    assert first is not None
    assert next(chunks) is None, "nobody knows how fast the run is"
    clocks.go_on(10)
    limited.committed(first)
    assert next(chunks) is not None
    assert next(chunks, "none") == "none", "after the one in flight, 5 s are left"


def test_those_who_work_at_the_same_time_all_begin_and_count_together(tmp_path: Path, clocks: Clocks) -> None:
    limited = pace(tmp_path, clocks.wall + 25)
    limited.runners = 4
    chunks = limited.chunks(plan(40))
    begun = [next(chunks) for _ in range(5)]
    assert begun[4] is None
    clocks.go_on(10)
    for chunk in begun[:4]:
        assert chunk is not None
        limited.committed(chunk)
        assert next(chunks) is not None
    assert next(chunks) is not None, "15 s are left, 4 chunks take 10, and there is room for two more"
    assert next(chunks) is not None
    assert next(chunks, "none") == "none"


@pytest.mark.parametrize(("jump", "expected"), [(-3600.0, 5), (3600.0, 2)])
def test_a_clock_that_jumps_moves_the_end_and_not_the_rate(
    tmp_path: Path, clocks: Clocks, jump: float, expected: int
) -> None:
    limited = pace(tmp_path, clocks.wall + 35)
    begun = 0
    for chunk in limited.chunks(plan(10)):
        assert chunk is not None
        clocks.go_on(10)
        begun += 1
        if begun == 2:
            clocks.wall += jump
        limited.committed(chunk)
    assert begun == expected


def test_a_pause_is_no_time_of_the_run(tmp_path: Path, clocks: Clocks) -> None:
    pause = tmp_path / "pause"
    limited = pace(tmp_path, clocks.wall + 1000, pause)
    chunks = limited.chunks(plan(6))
    first = next(chunks)
    assert first is not None
    clocks.go_on(10)
    limited.committed(first)
    pause.touch()
    assert next(chunks) is None
    clocks.go_on(975)
    pause.unlink()
    assert next(chunks) is not None, "it takes 10 s, and 15 are left"
    assert next(chunks, "none") == "none"


def test_a_window_that_ends_in_a_pause_ends_the_run(tmp_path: Path, clocks: Clocks) -> None:
    limited = pace(tmp_path, clocks.wall + 10, tmp_path)
    chunks = limited.chunks(plan(6))
    assert next(chunks) is None
    clocks.go_on(11)
    assert next(chunks, "none") == "none"
    assert limited.window_ended


SLOW_START = """
import time
from resnet_pipe.run import preparation
resolved = preparation.resolved
preparation.resolved = lambda *given: (time.sleep(3), resolved(*given))[1]
"""


def test_a_window_that_ends_while_the_run_is_starting_is_not_tomorrow_s(job: JobFolder) -> None:
    job.add("a.jpg")
    with job.start(
        "--until", f"{datetime.now() + timedelta(seconds=3.5):%H:%M:%S}", faults=SLOW_START
    ) as run:
        run.end().expect(ExitCode.WINDOW_ENDED)
    assert job.paths() == []
