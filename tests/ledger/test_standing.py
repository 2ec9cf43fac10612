"""What stands in the results is not what happened in the last run; both are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.run.jobs import HOME, JobFolder, jpeg, numbered
from tests.run.test_alerts import read_metrics


def standing_metrics(path: Path) -> dict[str, float]:
    """Return the standing failures that are exported, by status."""
    return {
        labels.rpartition("status=")[2].strip('"'): value
        for (name, labels), value in read_metrics(path).items()
        if name == "resnet_pipe_standing_failures"
    }


@pytest.fixture
def second_night(job: JobFolder) -> JobFolder:
    """A job of two good sources and six bad ones that has run, and so has nothing to do."""
    job.add(*numbered(2))
    job.add_bad(*numbered(6, start=2))
    job.run().expect(3)
    assert job.summary()["standing"] == {"failed": 6, "partial": 0}
    return job


def test_on_the_second_night_the_failures_stand_although_nothing_has_failed(second_night: JobFolder) -> None:
    plan = second_night.run("--dry-run").expect(0).stdout
    assert "sources  0 to process, 2 already done, 6 failed before (unchanged), 0 disappeared" in plan
    said = second_night.run("--set", "run.report=true").expect(0).stdout.splitlines()
    assert said[0] == "0 sources done, 0 failed, 2 already done, 6 failed before (unchanged)"
    assert said[-1] == f"failures: 6 from earlier runs: {second_night.out}/failures.jsonl"
    run = second_night.summary()
    assert run["sources"] == {"planned": 0, "skipped": 8, "done": 0, "partial": 0, "failed": 0}
    assert run["standing"] == {"failed": 6, "partial": 0}
    metrics = second_night.out / "metrics.prom"
    assert read_metrics(metrics)["resnet_pipe_sources_failed", 'job="nightly"'] == 0
    assert standing_metrics(metrics) == {"failed": 6, "partial": 0}
    page = (second_night.last_run() / "report.html").read_text()
    assert "<b>6</b><span>failures in the results, from all runs</span>" in page
    assert "Failures in the results: 6 from earlier runs." in page


def test_a_quiet_run_repeats_the_failures_of_earlier_runs_only_when_something_has_failed(
    second_night: JobFolder,
) -> None:
    assert second_night.run("--quiet").expect(0).stderr == ""
    second_night.add_bad("new.jpg")
    said = second_night.run("--quiet").expect(3).stderr
    assert said == f"1 source failed (6 from earlier runs): {second_night.out}/failures.jsonl\n"
    for name in numbered(5, start=2):
        (second_night.images / name).write_bytes(jpeg(7))
    second_night.run().expect(0)
    (second_night.images / "new.jpg").write_bytes(b"still no image")
    said = second_night.run().expect(3).stdout
    assert f"failures: 1 from this run, 1 from earlier runs: {second_night.out}/" in said
    second_night.run("--retry-failed").expect(3)
    assert second_night.summary()["sources"]["failed"] == second_night.summary()["standing"]["failed"] == 2


def test_a_run_that_fails_tells_what_stands_and_one_that_cannot_know_leaves_the_figure(
    second_night: JobFolder,
) -> None:
    second_night.images.rename(second_night.folder / "moved")
    second_night.images.mkdir()
    second_night.run().expect(1)
    assert second_night.summary()["standing"] == {"failed": 6, "partial": 0}
    for record in (second_night.out / HOME / "ledger").iterdir():
        record.write_text("not a record")
    second_night.run().expect(1)
    assert second_night.summary()["standing"] is None
    assert standing_metrics(second_night.out / "metrics.prom") == {"failed": 6, "partial": 0}


def test_the_failures_of_all_divisions_stand(job: JobFolder) -> None:
    job.add_bad(*numbered(6, start=5))  # of which both divisions have some
    for division in ("1/2", "2/2"):
        job.run("--divide", division).expect(3)
    assert 0 < job.summary()["sources"]["failed"] < 6
    assert job.summary()["standing"] == {"failed": 6, "partial": 0}
    assert standing_metrics(job.out / "metrics-2of2.prom") == {"failed": 6, "partial": 0}
