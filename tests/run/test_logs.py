"""What a run leaves behind to be read later: its log, its folder and failures.jsonl."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.run.jobs import HOME, JobFolder, numbered, read_lines, records

DOCUMENTED = (Path(__file__).parents[2] / "docs" / "unattended.md").read_text()


@pytest.fixture(scope="session")
def five_logged(five_done: Path) -> list[dict[str, object]]:
    """What the run of `five_done` has logged. Do not change it."""
    (log,) = (five_done / "out" / HOME / "runs").glob("*/log.jsonl")
    return read_lines(log)


def test_the_log_tells_the_run_in_order_and_in_utc(five_logged: list[dict[str, object]]) -> None:
    names = [str(event["event"]) for event in five_logged]
    chunks = ["chunk_committed"] * 3
    assert names == ["run_started", "planned", "engine_ready", *chunks, "run_ended"]
    times = [datetime.fromisoformat(str(event["time"])) for event in five_logged]
    assert all(time.utcoffset() == timedelta(0) for time in times)
    assert times == sorted(times)
    committed = [event for event in five_logged if event["event"] == "chunk_committed"]
    assert [(event["chunk"], event["shards"], event["rows"]) for event in committed] == [
        ("000000", ["part-000000.parquet"], 2),
        ("000001", ["part-000001.parquet"], 2),
        ("000002", ["part-000002.parquet"], 1),
    ]
    assert five_logged[-1]["exit_code"] == 0


def test_a_failed_source_is_logged_with_its_chunk_stage_error_and_text(job: JobFolder) -> None:
    job.add(*numbered(5))
    job.add_bad("0002.jpg")
    job.run().expect(3)
    (event,) = job.events("source_failed")
    (chunk,) = (r["chunk"] for r in records(job.out) if "0002.jpg" in [s["key"] for s in r["sources"]])
    assert (event["source"], event["chunk"], event["stage"]) == ("0002.jpg", chunk, "reader")
    assert (event["error"], event["text"]) == ("unknown_format", job.failures()["0002.jpg"]["message"])
    assert job.events("run_ended")[0]["exit_code"] == 3
    # Every name and every field that a reader of the log will meet is in the documentation.
    for logged in job.events():
        row = next(line for line in DOCUMENTED.splitlines() if f"`{logged['event']}`" in line)
        assert all(f"`{field}`" in row for field in logged if field not in ("time", "event")), logged


def test_the_end_of_a_run_that_failed_is_logged_with_its_reason(job: JobFolder) -> None:
    said = job.run().expect(1).stderr
    (event,) = job.events("error")
    assert str(event["text"]).splitlines()[0] in said
    assert job.events()[-1]["event"] == "run_ended"
    assert job.events()[-1]["exit_code"] == job.summary()["exit_code"] == 1


def test_the_folders_of_the_last_thirty_runs_are_kept(done: JobFolder) -> None:
    runs = done.out / HOME / "runs"
    for number in range(40):
        (runs / f"2020-01-01T00-00-{number:02d}.000000Z").mkdir()
    (runs / "2019-01-01T00-00-00.000000Z-1of2").mkdir()  # of a division of a job
    first = max(runs.iterdir()).name
    done.run().expect(0)
    kept = sorted(path.name for path in runs.iterdir() if not path.name.endswith("1of2"))
    assert len(kept) == 30
    assert kept[:28] == [f"2020-01-01T00-00-{number:02d}.000000Z" for number in range(12, 40)]
    assert kept[28] == first
    assert len(list(runs.iterdir())) == 31


def test_the_job_in_the_folder_of_a_run_is_a_job_that_does_the_same(done: JobFolder, tmp_path: Path) -> None:
    done.add("0005.jpg")
    done.run("--set", "infer.batch_size=3", "--set", "run.max_failures=5%").expect(0)
    done.file = tmp_path / "elsewhere.yaml"
    done.file.write_bytes((done.last_run() / "job.yaml").read_bytes())
    done.run().expect(0)
    assert done.summary()["sources"]["skipped"] == 6
    again = (done.last_run() / "job.yaml").read_text()
    assert again == done.file.read_text()
    assert "batch_size: 3" in again
    assert "max_failures: 5%" in again


def test_failures_jsonl_holds_the_failures_that_stand_after_the_last_run(job: JobFolder) -> None:
    job.add(*numbered(3))
    job.run().expect(0)
    assert job.failures() == {}
    job.add_bad("0001.jpg", "bad.jpg")
    job.run().expect(3)
    assert list(job.failures()) == ["0001.jpg", "bad.jpg"]
    failure = job.failures()["bad.jpg"]
    status = (job.images / "bad.jpg").stat()
    assert (failure["size"], failure["mtime_ns"]) == (status.st_size, status.st_mtime_ns)
    (job.images / "bad.jpg").unlink()
    job.run("--prune").expect(0)
    assert list(job.failures()) == ["0001.jpg"]
