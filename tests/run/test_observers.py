"""What only observes a run never decides about it: it is a warning, and the exit code is that of the data."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys

import pytest

from tests.run.commands import PATIENCE_S, Result
from tests.run.faults import DECODER, Gate
from tests.run.jobs import HOME, JobFolder, assert_clean, numbered


def in_the_way(**obstacles: str) -> str:
    """Return a fault: every new folder of a run has something where it wants to write.

    Args:
        obstacles: by name of the file with `_` for `.`: "folder", or what a link there leads to.
    """
    named = {name.replace("_", "."): what for name, what in obstacles.items()}
    return f"""
import os
mkdir = os.mkdir

def make(path, *arguments, **options):
    mkdir(path, *arguments, **options)
    if os.path.basename(os.path.dirname(path)) == "runs":
        for name, what in {named}.items():
            place = os.path.join(path, name)
            mkdir(place) if what == "folder" else os.symlink(what, place)

os.mkdir = make
"""


REPORT = """
import jinja2

def render(*arguments, **options):
    raise ZeroDivisionError("a mistake in\\na template")

jinja2.Template.render = render
"""

THUMBNAILS = """
import sys
import PIL.Image

def fromarray(*arguments, **options):
    raise MemoryError("no room for a thumbnail")

if "resnet_pipe.run.workers.worker_process" not in sys.orig_argv:
    PIL.Image.fromarray = fromarray
"""

BROKEN = {
    "report": (REPORT, "no report: ZeroDivisionError: a mistake in a template"),
    "report's place": (in_the_way(report_html="folder"), "no report: .*/report.html: Is a directory"),
    "history": (THUMBNAILS, "no history: MemoryError: no room for a thumbnail"),
    "history's place": (
        in_the_way(_history_json_tmp="folder"),
        "no history: .*/.history.json.tmp: Is a dir",
    ),
    "trace": (in_the_way(_trace_json_tmp="folder"), "no trace: .*/.trace.json.tmp: Is a directory"),
    "trace, full disk": (in_the_way(_trace_json_tmp="/dev/full"), "no trace: No space left on device"),
    "trace's place": (in_the_way(trace_json="folder"), "no trace: .*/trace.json: Is a directory"),
    "run.json": (in_the_way(run_json="folder"), "no run.json: .*/run.json: Is a directory"),
    "job.yaml": (in_the_way(job_yaml="folder"), "no job.yaml: .*/job.yaml: Is a directory"),
    "log": (in_the_way(log_jsonl="folder"), "no log: .*/log.jsonl: Is a directory"),
    "log, full disk": (in_the_way(log_jsonl="/dev/full"), "log.jsonl is not complete: No space left on dev"),
}


def warning_of(result: Result) -> str:
    """Check that a quiet run ended well and said one thing, a warning, and return its text."""
    said = re.fullmatch("warning: (.*); the results are not affected\n", result.expect(0).stderr)
    assert said, result.stderr
    return said[1]


@pytest.mark.parametrize("what", BROKEN)
def test_what_cannot_be_made_to_look_at_is_a_warning_and_nothing_else(job: JobFolder, what: str) -> None:
    faults, pattern = BROKEN[what]
    job.add(*numbered(60))  # of which the trace is longer than the buffer of a file
    report = what.startswith(("report", "history", "run.json"))  # it takes seconds
    job.write(batch_size=8, chunk_items=30)
    text = warning_of(
        job.run("--quiet", "--set", f"run.report={report}", "--set", "run.trace=true", faults=faults)
    )
    assert re.match(pattern, text)
    assert job.paths() == numbered(60)
    for obstacle in job.last_run().glob(".*"):
        obstacle.rmdir()
    assert_clean(job.out)
    if not what.startswith("log"):
        assert [event["text"] for event in job.events("warning")] == [text]
        assert job.events("run_ended")[0]["exit_code"] == 0
    made = {path.name for path in job.last_run().iterdir() if path.is_file()}
    assert ("report.html" in made) == what.startswith("history")
    assert ("trace.json" in made) == (not what.startswith("trace"))


def test_metrics_that_cannot_be_written_are_a_warning(job: JobFolder) -> None:
    (job.out / "metrics.prom").mkdir(parents=True)
    job.add("0000.jpg")
    assert warning_of(job.run("--quiet")) == f"no metrics: {job.out}/metrics.prom: Is a directory"
    assert job.summary()["exit_code"] == 0


def test_a_run_without_a_folder_of_its_own_says_so_once_and_prints_what_it_would_have_saved(
    job: JobFolder,
) -> None:
    runs = job.out / HOME / "runs"
    runs.parent.mkdir(parents=True)
    runs.write_text("in the way")
    job.add("0000.jpg")
    result = job.run("--quiet", "--json", "--set", "run.report=true", "--set", "run.trace=true")
    assert re.match(f"no folder for this run: {runs}/.*: Not a directory", warning_of(result))
    assert json.loads(result.stdout)["sources"]["done"] == 1
    assert job.paths() == ["0000.jpg"]
    assert runs.read_text() == "in the way"


def test_old_folders_that_cannot_be_removed_are_a_warning(done: JobFolder) -> None:
    left = done.last_run() / ".run.json.tmp"
    left.mkdir()
    assert warning_of(done.run("--quiet")).startswith(f"no removal of old run folders: {left}: ")


def test_a_run_without_a_report_says_where_to_look_for_the_reason(job: JobFolder) -> None:
    job.add("0000.jpg")
    result = job.run("--set", "run.report=true", faults=REPORT).expect(0)
    assert "no report: see the warning" in result.stdout
    assert "warning: no report: " in result.stderr


def test_the_error_of_a_run_that_fails_is_not_lost_among_its_warnings(job: JobFolder) -> None:
    (job.out / "metrics.prom").mkdir(parents=True)
    warning, error, _ = job.run("--quiet").expect(1).stderr.splitlines()
    assert warning.startswith("warning: no metrics: ")
    assert error.startswith("error: no images found in ")
    assert job.summary()["exit_code"] == 1


def test_failures_jsonl_is_no_observer_but_a_result(job: JobFolder) -> None:
    (job.out / "failures.jsonl").mkdir(parents=True)
    job.add("0000.jpg")
    assert f"error: cannot continue: {job.out}/" in job.run().expect(1).stderr


def test_a_terminal_that_goes_away_does_not_end_a_run(job: JobFolder) -> None:
    job.add("0000.jpg", comment="gate")
    job.add_bad("bad.jpg")
    ours, theirs = pty.openpty()
    environment = job.environment(DECODER)
    with subprocess.Popen(
        [sys.executable, "-m", "resnet_pipe", "run", str(job.file)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env=environment,
    ) as process:
        os.close(theirs)
        Gate(job).wait()
        os.close(ours)
        Gate(job).open()
        assert process.wait(PATIENCE_S) == 3
    assert job.paths() == ["0000.jpg"]
    assert_clean(job.out)
